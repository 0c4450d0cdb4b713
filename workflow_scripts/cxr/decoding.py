"""Radiographs as grey pixels, whatever they are stored as; what can't be decoded is named."""

import io
import struct
import sys
import warnings
import zlib
from pathlib import Path

import kornia_rs
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr.logs import InputError

SMALLEST = 32  # pixels, width and height: what is smaller is no radiograph
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error)
_BOMBS = (Image.DecompressionBombWarning, Image.DecompressionBombError)
_PNG = b"\x89PNG\r\n\x1a\n"


class UnreadableImage(InputError):
    """A file that is no radiograph, or is damaged; the message says why."""


def read_grey(source):
    """Read an image as a grey PIL image (mode L) of its stored size.

    source: path, or the bytes of a file. 16 bits a pixel are scaled to 8, an alpha channel is
    composed onto black, EXIF orientation is applied, and colour is reduced to luma (ITU-R 601-2,
    PIL's "L"), because tint tells the class in collections like these.
    Raises UnreadableImage if the pixels can't be decoded, and FileNotFoundError.
    """
    content = read_bytes(source)
    image = decode(content)
    if min(image.size) < SMALLEST:
        raise UnreadableImage(f"{image.width} x {image.height} pixels; {SMALLEST} are the least")
    return to_grey(image)


def read_bytes(source):
    """The bytes of a file, or source itself where it is bytes."""
    if isinstance(source, bytes):
        return source
    try:
        return Path(source).read_bytes()
    except PermissionError as error:
        raise UnreadableImage("permission denied") from error


def decode(content):
    """PIL image of the bytes of a file, upright, in whatever mode it is stored."""
    if not content:
        raise UnreadableImage("the file is empty")
    if content.startswith(_PNG):
        check_png(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(content))
            if png := decode_png(content, image):
                return png
            image.load()
            return ImageOps.exif_transpose(image)
    except _BOMBS as error:
        raise UnreadableImage(f"implausibly many pixels: {error}") from error
    except UnidentifiedImageError as error:
        raise UnreadableImage("the file is no image") from error
    except _BROKEN as error:
        raise UnreadableImage(f"no whole image: {error}") from error


def check_png(content):
    """Raise UnreadableImage unless all chunks up to the last are there and their sums are right."""
    place, kind = len(_PNG), b""
    while kind != b"IEND":
        if place + 12 > len(content):
            raise UnreadableImage("the PNG is cut short")
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            raise UnreadableImage("the PNG is cut short")
        found = zlib.crc32(memoryview(content)[place + 4 : end])
        if found != int.from_bytes(content[end : end + 4]):
            raise UnreadableImage(f"the PNG is damaged: wrong sum of a chunk {kind!r}")
        place = end + 4


def decode_png(content, image):
    """A PNG of 8 bits a channel by kornia-rs, in half of PIL's time; None for any other.

    image: what PIL knows of it before decoding.
    """
    mode = {"L": "mono", "RGB": "rgb", "RGBA": "rgba"}.get(image.mode)
    depth = content[24]  # bits a channel, in the header
    if image.format != "PNG" or not mode or depth != 8 or b"eXIf" in content:
        return None
    try:
        pixels = kornia_rs.io.decode_image_png_u8(content, image.size[::-1], mode)
    except Exception as error:  # kornia-rs has no type of its own for what can't be decoded
        raise UnreadableImage(f"no whole image: {error}") from error
    return Image.fromarray(pixels[..., 0] if mode == "mono" else pixels)


def to_grey(image):
    """A PIL image of any mode as mode L. Raises UnreadableImage for more than 16 bits a pixel."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UnreadableImage("32 bits a pixel; expected 8 or 16")
        return Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers; expected 8 or 16 bits")
    if image.mode in ("P", "PA", "LA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == "L" else image.convert("L")


def image_files(folder):
    """Image files below folder, as sorted paths relative to it."""
    endings = {".png", ".jpg", ".jpeg"}
    found = (path for path in Path(folder).rglob("*") if path.suffix.lower() in endings)
    return sorted(path.relative_to(folder) for path in found)


def check_unreadable(source, table, most):
    """Warn of images that can't be used; InputError if their share of all is over most.

    table: image and reason, empty for the usable ones.
    """
    bad = table[table.reason != ""]
    if bad.empty:
        return
    first = bad.iloc[0]
    text = f"{source}: {len(bad)} of {len(table)} images can't be used, first {first.image}: "
    text += first.reason
    if len(bad) > most * len(table):
        raise InputError(f"{text}; at most {most:.2%} may be so (max_unreadable)")
    print(f"warning: {text}", file=sys.stderr)
