"""Grey images: resize, cover words, normalise.

Needs no deep-learning library, so that PyTorch and Keras steps share it.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# Mean and standard deviation of ImageNet's channels, for values in [0, 1]: what the nets were
# first trained with (section 5.1 of the paper; figures from torchvision's documentation).
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def to_square(image, size):
    """Resize a grey PIL image to (size, size) by bilinear interpolation; uint8 array."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def cover(image, boxes):
    """Copy of a grey PIL image with black rectangles over boxes (x0, y0, x1, y1), end exclusive."""
    covered = image.copy()
    for box in boxes:
        covered.paste(0, tuple(box))
    return covered


def draw_word(image, word, position, height):
    """Copy of a grey PIL image with the word in white; position and height are shares of it."""
    drawn = image.copy()
    left, top, font = _place(image.size, position, height)
    ImageDraw.Draw(drawn).text((left, top), word, fill=255, font=font)
    return drawn


def word_box(size, word, position, height):
    """What draw_word may touch in a (size, size) image: (x0, y0, x1, y1), end exclusive."""
    left, top, font = _place((size, size), position, height)
    box = ImageDraw.Draw(Image.new("L", (size, size))).textbbox((left, top), word, font=font)
    x0, y0, x1, y1 = (min(max(edge, 0), size) for edge in box)
    return math.floor(x0), math.floor(y0), math.ceil(x1), math.ceil(y1)


def _place(size, position, height):
    left, top = (share * length for share, length in zip(position, size, strict=True))
    return left, top, ImageFont.load_default(size=height * size[1])


def normalise(pixels):
    """uint8 (n, h, w) -> float32 (n, h, w, 3), repeated to three channels, ImageNet statistics."""
    values = pixels[..., np.newaxis].astype(np.float32) / np.float32(255)
    return (values - IMAGENET_MEAN) / IMAGENET_STD
