"""Radiographs as grey pixels, whatever they are stored as; what can't be decoded is named."""

import io
import re
import stat
import struct
import sys
import zlib
from pathlib import Path

import kornia_rs
import numpy as np
from PIL import Image

from cxr.cli import InputError
from cxr.data.folders import walk
from cxr.data.pixels import (
    MOST_BYTES,
    SEVERAL,
    Picture,
    UnreadableImage,
    check_size,
    decoder_errors,
    on_black,
    range_of_content,
    to_8_bits,
    upright,
)
from cxr.data.tiff import decode_tiff

SMALLEST = 32  # pixels, width and height: what is smaller is no radiograph
LOSSLESS = 0xC3  # marker of a JPEG's frame
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# What else Pillow reads; not EPS and the like, which start other programs.
FORMATS = ("PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP", "JPEG2000", "PPM")
PNG_COLOURS = {0: "L", 2: "RGB", 6: "RGBA"}  # colour type: mode in PIL's words
# Text, profiles and times of a PNG are left out: decoders stop at some that are large or odd.
PNG_PIXELS = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT"}
ORIENTATION = 0x0112  # tag of EXIF
INTEGERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i"}  # type of a tag: in struct's words
ODD = -1  # an orientation of another type
XMP_ORIENTATION = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')
DAMAGED = "damaged metadata: it is not known whether the picture is upright"


def read_grey(source):
    """Read an image as a grey PIL image (mode L) of its stored size.

    source: path, or the bytes of a file. 16 bits a pixel are scaled to 8, an alpha channel is
    composed onto black, EXIF orientation is applied, and colour is reduced to luma (ITU-R 601-2,
    PIL's "L"), because tint tells the class in collections like these.
    Raises UnreadableImage if the pixels can't be decoded, and FileNotFoundError.
    """
    return grey_of(decode(read_bytes(source)))


def grey_of(picture):
    """The grey PIL image (mode L) of a Picture. Raises UnreadableImage if it is too small."""
    width, height = picture.image.size
    if min(width, height) < SMALLEST:
        raise UnreadableImage(f"{width} x {height} pixels; {SMALLEST} are the least")
    return to_grey(picture.image)


def read_bytes(source):
    """The bytes of a file, or source itself where it is bytes. Pipes and devices stay closed."""
    if isinstance(source, bytes):
        return source
    path = Path(source)
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return path.read_bytes()  # raises what the system says
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableImage("no file, but a pipe, socket or device")
        if found.st_size > MOST_BYTES:
            raise UnreadableImage(f"{found.st_size} bytes, implausibly many for a radiograph")
        return path.read_bytes()
    except PermissionError as error:
        raise UnreadableImage("permission denied") from error


def decode(content):
    """Picture of the bytes of a file. Raises UnreadableImage."""
    if not content:
        raise UnreadableImage("the file is empty")
    if content.startswith(PNG):
        return decode_png(content)
    if content.startswith(JPEG):
        return decode_jpeg(content)
    if content.startswith(TIFF):
        return decode_tiff(content, decode_by_pillow)
    return decode_by_pillow(content)


def decode_by_pillow(content):
    """Picture of the bytes of a file in one of FORMATS, turned if it says so."""
    with decoder_errors():
        image = Image.open(io.BytesIO(content), formats=FORMATS)
        check_size(*image.size)
        image.load()
    try:
        orientation = image.getexif().get(ORIENTATION)
        found = [SEVERAL] if getattr(image, "is_animated", False) else []
    except Exception:  # of Pillow, on damaged metadata of whole pixels
        orientation, found = None, [DAMAGED]
    mode, (image, deep) = image.mode, in_8_bits(image)
    image, turned = upright(image, orientation)
    return Picture(image, mode, found + deep + turned)


def in_8_bits(image):
    """A PIL image with 8 bits a channel, and warnings. Raises UnreadableImage for more than 16."""
    if image.mode == "F":
        raise UnreadableImage("pixels are floating-point numbers; expected 8 or 16 bits")
    if image.mode != "I" and not image.mode.startswith("I;16"):
        return image, []
    values = np.asarray(image).astype(np.int64)
    white, found = range_of_content(values)
    return Image.fromarray(to_8_bits(values, 0, white)), found


def require_imagecodecs(what):
    """The module imagecodecs. Raises UnreadableImage, naming what needs it, if there is none."""
    try:
        import imagecodecs
    except ImportError as error:
        raise UnreadableImage(f"{what} needs imagecodecs: pip install imagecodecs") from error
    return imagecodecs


# PNG


def decode_png(content):
    """Picture of a PNG's bytes: 8 bits a channel by kornia-rs, in half of PIL's time."""
    chunks = list(png_chunks(content))
    depth, colours = content[24:26]  # bits a channel, colour type; in the header
    check_size(*struct.unpack_from(">II", content, 16))
    kept = PNG_PIXELS - {b"tRNS"} if depth == 16 else PNG_PIXELS
    pixels = PNG + b"".join(content[start:end] for kind, start, end in chunks if kind in kept)
    if depth == 8 and colours in PNG_COLOURS:
        picture = decode_png_8(pixels, PNG_COLOURS[colours])
    elif depth == 16 and colours != 0:
        picture = decode_png_16(pixels)
    else:
        picture = decode_by_pillow(pixels)
    if SEVERAL not in picture.warnings and any(kind == b"acTL" for kind, *_ in chunks):
        picture.warnings.append(SEVERAL)
    exif = [content[start + 8 : end - 4] for kind, start, end in chunks if kind == b"eXIf"]
    return turned_by_exif(picture, exif[0]) if exif else picture


def png_chunks(content):
    """Yield (kind, start, end) of all chunks.

    Raises UnreadableImage unless all up to the last are there and their sums are right.
    """
    place, kind = len(PNG), b"IHDR"
    while kind != b"IEND":
        first = place == len(PNG)
        if place + 12 > len(content):
            raise UnreadableImage("the PNG is cut short")
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            raise UnreadableImage("the PNG is cut short")
        found = zlib.crc32(memoryview(content)[place + 4 : end - 4])
        if found != int.from_bytes(content[end - 4 : end]):
            raise UnreadableImage(f"the PNG is damaged: wrong sum of a chunk {kind!r}")
        if first and (kind, length) != (b"IHDR", 13):
            raise UnreadableImage("the PNG is damaged: it has no header")
        yield kind, place, end
        place = end


def decode_png_8(content, mode):
    """Picture of a PNG of 8 bits a channel: grey, RGB or RGBA, as mode says."""
    size = struct.unpack_from(">II", content, 16)[::-1]
    names = {"L": "mono", "RGB": "rgb", "RGBA": "rgba"}
    with decoder_errors():
        pixels = kornia_rs.io.decode_image_png_u8(content, size, names[mode])
    return Picture(Image.fromarray(pixels[..., 0] if mode == "L" else pixels), mode, [])


def decode_png_16(content):
    """Picture of a PNG of 16 bits a channel, of which Pillow would keep 8: grey or RGB on black."""
    imagecodecs = require_imagecodecs("PNG with colour or alpha of 16 bits")
    with decoder_errors():
        pixels = imagecodecs.png_decode(content)
    colours = pixels[..., 0] if pixels.shape[2] < 3 else pixels[..., :3]
    white, found = range_of_content(colours)
    shown = to_8_bits(colours, 0, white)
    if pixels.shape[2] in (2, 4):
        shown = on_black(shown, to_8_bits(pixels[..., -1], 0, 65535))
    mode = {2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]
    return Picture(Image.fromarray(shown), mode, found)


# JPEG


def decode_jpeg(content):
    """Picture of a JPEG's bytes, without the metadata that decoders stop at if they are odd."""
    kept, metadata, place = [content[:2]], [], 2
    for marker, start, end in jpeg_segments(content):
        data = content[start + 4 : end]
        if is_frame(marker) and (marker == LOSSLESS or data[:1] != b"\x08"):
            return decode_deep_jpeg(content, *struct.unpack_from(">BHH", data))
        # JFIF and Adobe's segment tell the colours; what other applications add is left out.
        if not 0xE0 <= marker <= 0xEF or data.startswith((b"JFIF\0", b"Adobe")):
            kept.append(content[start:end])
        else:
            metadata.append(data)
        place = end
    picture = decode_by_pillow(b"".join(kept) + content[place:])
    exif = b"".join(data[6:] for data in metadata if data.startswith(b"Exif\0\0"))
    if (np.asarray(picture.image)[-1] == 128).all():  # what libjpeg makes of missing data
        picture.warnings.append("the lowest rows are one grey: the JPEG may be cut short")
    picture = turned_by_exif(picture, exif, b"".join(metadata))
    if any(data.startswith(b"MPF\0") for data in metadata):
        picture.warnings.append(SEVERAL)
    return picture


def jpeg_segments(content):
    """Yield (marker, start, end) of a JPEG's segments before its pixels, up to one that is none."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4])
        if marker < 0xC0 or 0xD0 <= marker <= 0xDA or end < place + 4 or end > len(content):
            return
        yield marker, place, end
        place = end


def is_frame(marker):
    """Whether a segment's marker is that of a frame's header: SOF0 to SOF15, or JPEG-LS's."""
    return (marker & 0xF0 == 0xC0 and marker not in (0xC4, 0xC8, 0xCC)) or marker == 0xF7


def decode_deep_jpeg(content, bits, height, width):
    """Picture of a JPEG that is lossless or of other than 8 bits, which Pillow can't decode."""
    imagecodecs = require_imagecodecs("JPEG that is lossless or of more than 8 bits")
    check_size(width, height)
    with decoder_errors():
        pixels = imagecodecs.jpeg_decode(content)
    white, found = ((1 << bits) - 1, []) if bits < 16 else range_of_content(pixels)
    image = Image.fromarray(to_8_bits(pixels, 0, white))
    return Picture(image, "I;16" if image.mode == "L" and bits > 8 else image.mode, found)


def orientation_of(exif):
    """Orientation in the bytes of EXIF, or None; other tags may be damaged, and are not looked at.

    Raises struct.error or KeyError for what is no EXIF, or is cut short.
    """
    exif = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}[exif[:2]]
    (place,) = struct.unpack_from(f"{order}I", exif, 4)
    (n_tags,) = struct.unpack_from(f"{order}H", exif, place)
    for field in range(place + 2, place + 2 + 12 * n_tags, 12):
        tag, kind = struct.unpack_from(f"{order}HH", exif, field)
        if tag == ORIENTATION:
            if kind not in INTEGERS:
                return ODD
            return struct.unpack_from(order + INTEGERS[kind], exif, field + 8)[0]
    return None


def turned_by_exif(picture, exif, xmp=b""):
    """A Picture turned as the bytes of EXIF say, or where they say nothing those of XMP."""
    try:
        orientation = orientation_of(exif) if exif else None
    except (struct.error, KeyError):
        return picture._replace(warnings=[*picture.warnings, DAMAGED])
    if orientation is None and (found := XMP_ORIENTATION.search(xmp)):
        orientation = int(found[1])
    image, found = upright(picture.image, orientation)
    return picture._replace(image=image, warnings=picture.warnings + found)


# Grey


def to_grey(image):
    """A PIL image with 8 bits a channel, of any mode, as mode L; alpha is composed onto black."""
    if image.mode in ("P", "PA", "LA", "La", "RGBa"):
        image = image.convert("RGBA")
    if image.mode == "RGBA" and image.getextrema()[3][0] < 255:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image)
    if image.mode not in ("L", "1", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == "L" else image.convert("L")


# Files of a data set


def image_files(folder, passed=None):
    """Image files below folder, as sorted paths relative to it.

    passed: a Counter, to which is added what was passed over, by the reason.
    Raises InputError for a folder that can't be listed.
    """
    endings, found = {".png", ".jpg", ".jpeg"}, []
    for path, reason in walk(folder):
        if path.is_dir():
            raise InputError(f"{path}: this folder can't be listed")
        if path.suffix.lower() in endings:
            if reason is None:
                found.append(path.relative_to(folder))
            elif passed is not None:
                passed[reason] += 1
    return sorted(found)


def print_passed(folder, passed):
    """Print what image_files passed over."""
    for reason, number in passed.items():
        print(f"warning: {folder}: {number} images passed over: {reason}", file=sys.stderr)


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


def print_warnings(source, table):
    """Print each kind of warning of a table once, with how many images have it.

    table: image and warnings, joined by "; ".
    """
    kinds = {}
    for image, warnings in zip(table.image, table.warnings, strict=True):
        for warning in filter(None, warnings.split("; ")):
            kinds.setdefault(re.sub(r"\d+", "N", warning), []).append((image, warning))
    for found in kinds.values():
        (image, warning), *others = found
        print(f"warning: {source}: {image}: {warning}", end="", file=sys.stderr)
        print(f" ({len(others)} more like it)" if others else "", file=sys.stderr)
