"""Radiographs as grey pixels: read, resize, cover words, normalise.

Needs no deep-learning library, so that PyTorch and Keras steps share it.
"""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from cxr.logs import InputError

# Mean and standard deviation of ImageNet's channels, for values in [0, 1]: what the nets were
# first trained with (section 5.1 of the paper; figures from torchvision's documentation).
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
IMAGENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


class UnreadableImage(InputError):
    """A file that is not an image, or is cut short."""


def read_grey(source):
    """Read an image as a grey PIL image (mode L) of its stored size.

    source: path or binary file. An alpha channel is composed onto black; colour is reduced to
    luma (ITU-R 601-2, PIL's "L"), because tint tells the class in collections like these.
    Raises UnreadableImage if the pixels can't be decoded.
    """
    try:
        image = Image.open(source)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise UnreadableImage(str(error)) from error
    if image.mode == "P":
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA")).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        raise UnreadableImage(f"pixels of mode {image.mode}; expected 8 bits a channel")
    return image.convert("L")


def to_square(image, size):
    """Resize a grey PIL image to (size, size) by bilinear interpolation; uint8 array."""
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def cover(image, boxes):
    """Copy of a grey PIL image with black rectangles over boxes (x0, y0, x1, y1), end exclusive."""
    covered = image.copy()
    for box in boxes:
        covered.paste(0, tuple(box))
    return covered


def normalise(pixels):
    """uint8 (n, h, w) -> float32 (n, h, w, 3), repeated to three channels, ImageNet statistics."""
    values = pixels[..., np.newaxis].astype(np.float32) / np.float32(255)
    return (values - IMAGENET_MEAN) / IMAGENET_STD


def image_files(folder):
    """Image files below folder, as sorted paths relative to it."""
    endings = {".png", ".jpg", ".jpeg"}
    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in endings)
    return sorted(path.relative_to(folder) for path in found)
