"""How much two images look the same."""

import imagehash
import numpy as np
from PIL import Image

from cxr.data.images import to_square

COMPARED_SIZE = 64  # pixels, width and height


def correlate(first, second):
    """Pearson correlation of two grey PIL images at the size that they are compared at."""
    squares = (to_square(image, COMPARED_SIZE).astype(float) for image in (first, second))
    one, other = (square - square.mean() for square in squares)
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


def perceptual_hashes(pixels):
    """64-bit hashes (imagehash.phash) of uint8 (n, size, size): uint64 (n,)."""
    hashes = (imagehash.phash(Image.fromarray(square)) for square in pixels)
    return np.array([int(str(found), 16) for found in hashes], np.uint64)
