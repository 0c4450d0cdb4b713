"""What the decoders share: refusals, limits, depth in bits, orientation."""

import sys
import traceback
import warnings
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from cxr.cli import InputError

MOST_BYTES = 1 << 29  # of a file, and of what it holds compressed
SEVERAL = "several pictures in the file, the first was read"
DEPTHS = (8, 10, 12, 14, 16)  # bits a pixel of detectors and film scanners
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90,
}  # fmt: skip

# check_size refuses what Pillow would warn of; of damaged metadata there are warnings of ours.
warnings.filterwarnings("ignore", module=r"PIL\.")


class UnreadableImage(InputError):
    """A file that is no radiograph, or is damaged; the message says why."""


class Picture(NamedTuple):
    """A decoded image: upright, with 8 bits a channel; its stored mode in PIL's words; warnings."""

    image: Image.Image
    mode: str
    warnings: list


@contextmanager
def decoder_errors():
    """Turn whatever a decoder raises into UnreadableImage. Only calls of decoders belong inside."""
    try:
        yield
    except UnreadableImage:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImage("the file is no image") from error
    except Image.DecompressionBombError as error:
        raise UnreadableImage(f"implausibly many pixels: {error}") from error
    except Exception as error:  # decoders raise what they please on damaged files
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise UnreadableImage(f"no whole image: {words}") from error


def reason_of(error):
    """Why an image can't be used, in a line. A defect of ours leaves its traceback in the log."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    traceback.print_exception(error, file=sys.stderr)
    return f"defect of this program: {type(error).__name__}, see its log"


def check_size(width, height):
    if width * height > Image.MAX_IMAGE_PIXELS:
        raise UnreadableImage(f"implausibly many pixels: {width} x {height}")


def content_depth(largest):
    """The least of DEPTHS that holds a value of 0 to 65535."""
    return next(bits for bits in DEPTHS if largest < 1 << bits)


def range_of_content(values):
    """White of pixels in 16 bits that no tag tells the depth of, and a warning if it is a guess."""
    largest = int(values.max())
    if values.min() < 0 or largest > 65535:
        raise UnreadableImage("32 bits a pixel; expected 8 or 16")
    bits = content_depth(largest) if largest else 16
    found = f"depth guessed: values reach {largest} of 65535, read as {bits} bits"
    return (1 << bits) - 1, [found] if bits < 16 else []


def to_8_bits(values, black, white):
    """Integers as uint8: black becomes 0, white 255, rounded and clipped."""
    span = int(white) - int(black)
    share = (values.astype(np.int64) - int(black)) * 255 + span // 2
    return (share // span).clip(0, 255).astype(np.uint8)


def on_black(pixels, alpha):
    """Pixels, uint8 (h, w) or (h, w, 3), composed onto black by their alpha, uint8 (h, w)."""
    alpha = alpha if pixels.ndim == 2 else alpha[..., np.newaxis]
    return ((pixels.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def upright(image, orientation):
    """A PIL image turned as TIFF's and EXIF's Orientation say, and warnings."""
    if orientation in (None, 0, 1):  # 0: not known
        return image, []
    try:
        return image.transpose(UPRIGHT[orientation]), []
    except (KeyError, TypeError):  # another number or type
        return image, ["Orientation is none of 1 to 8: the picture was not turned"]
