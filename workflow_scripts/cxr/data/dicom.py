"""DICOM radiographs as a viewer shows them.

Only the elements named in ELEMENTS are read: what says who the patient is never gets into memory,
and errors of pydicom, which may quote the file, are not passed on.
"""

import io
import math
import re
import warnings
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

from cxr.data.decoding import SMALLEST, is_frame, jpeg_segments
from cxr.data.pixels import DEPTHS, MOST_BYTES, UnreadableImage, check_size

ELEMENTS = [
    "Modality", "ViewPosition", "BurnedInAnnotation", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "ModalityLUTSequence", "RescaleSlope", "RescaleIntercept",
    "VOILUTSequence", "VOILUTFunction", "WindowCenter", "WindowWidth", "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths", "PixelData",
]  # fmt: skip
MODALITIES = {"CR", "DX", "RG"}  # computed, digital and scanned radiographs
LATERAL = {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LATL", "LATR"}
PYLIBJPEG = "pip install pylibjpeg pylibjpeg-libjpeg pylibjpeg-openjpeg"
ENCAPSULATED = b"\xfe\xff\x00\xe0"  # what compressed pixels start with
JPEG_2000 = b"\xff\x4f\xff\x51"
RLE = "1.2.840.10008.1.2.5"
# By the marker of a frame's header, or JPEG_2000's: the transfer syntaxes that decode it.
SYNTAXES = {
    0xC0: ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"),
    0xC1: ("1.2.840.10008.1.2.4.51",),
    0xC3: ("1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"),
    0xF7: ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.80"),
    JPEG_2000: tuple(f"1.2.840.10008.1.2.4.{n}" for n in (91, 90, 92, 93, 201, 202, 203)),
}


class Table(NamedTuple):
    """A look-up table: entries, int64 (n,), from the value `first` on, and the range they have."""

    first: int
    entries: np.ndarray
    black: int
    white: int
    warnings: list


class Stored(NamedTuple):
    """What a file says of its radiograph, in plain values."""

    pixels: np.ndarray  # as decoded, before masking: (h, w) or (h, w, 3)
    grey: bool
    inverted: bool  # MONOCHROME1
    bits: int
    shift: int  # bits below the lowest stored one
    signed: bool
    padding: tuple | None  # first and last value
    modality: Table | None
    rescale: tuple  # slope, intercept
    voi: Table | None
    window: tuple | None  # center, width, function
    warnings: list


def has_mark(content):
    return content[128:132] == b"DICM"


def is_dicom(content):
    """Whether bytes are DICOM's by the mark, or start with an element of group 2 or 8."""
    return has_mark(content) or bool(re.match(rb"[\x02\x08]\0.[\0-\x31]", content, re.DOTALL))


def read_dicom(content):
    """PIL image (L or RGB) of the bytes of a DICOM file as it is meant to be seen, and warnings.

    Raises UnreadableImage.
    """
    try:
        import pydicom  # noqa: F401
    except ImportError as error:
        raise UnreadableImage("DICOM needs pydicom: pip install pydicom") from error
    dataset = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the file
        try:
            dataset = read_dataset(content)
            stored = read_stored(dataset)
        except UnreadableImage:
            raise
        except Exception as error:  # pydicom and its decoders raise what they please
            message = f"no DICOM image that pydicom can decode{syntax_of(dataset)}"
            raise UnreadableImage(f"{message} ({type(error).__name__})") from None
    image, found = dicom_to_image(stored)
    return image, stored.warnings + found


def syntax_of(dataset):
    """How a dataset is stored, in words; empty where it says nothing that is known."""
    name = getattr(getattr(dataset, "file_meta", {}).get("TransferSyntaxUID"), "name", "")
    return f", stored as {name}" if re.search("[A-Z]", name) else ""


# What the file says. Only this part touches pydicom.


def read_dataset(content):
    """The elements of ELEMENTS that are there and not empty, with a transfer syntax that fits."""
    from pydicom import dcmread

    check_inflated(content)
    dataset = dcmread(io.BytesIO(content), specific_tags=ELEMENTS, force=not has_mark(content))
    for element in list(dataset):
        if element.value is None or (hasattr(element.value, "__len__") and not len(element.value)):
            del dataset[element.tag]
    if not dataset.file_meta.get("TransferSyntaxUID"):
        if has_mark(content) or len(dataset.file_meta):
            raise UnreadableImage("DICOM without a transfer syntax (TransferSyntaxUID)")
        guess_syntax(dataset)
    if "PixelData" not in dataset or "Rows" not in dataset:
        raise UnreadableImage("no DICOM image: there are no pixels (PixelData) in it")
    return dataset


def check_inflated(content):
    """Raise UnreadableImage if a deflated dataset is implausibly large."""
    start = 132 if has_mark(content) else 0
    if b"1.2.840.10008.1.2.1.99" not in content[start : start + 1024]:
        return
    data = content[start + 12 + int.from_bytes(content[start + 8 : start + 12], "little") :]
    stream, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while data and size <= MOST_BYTES:
        size += len(stream.decompress(data, 1 << 24))
        data = stream.unconsumed_tail
    if size > MOST_BYTES:
        raise UnreadableImage(f"more than {MOST_BYTES} bytes, implausibly many for a radiograph")


def guess_syntax(dataset):
    """Note the encoding that pydicom found where the file has no header that says it."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def read_stored(dataset):
    """What dicom_to_image needs of a dataset, of which it is checked that it is one radiograph."""
    check_size(dataset.Columns, dataset.Rows)
    if min(dataset.Rows, dataset.Columns) < SMALLEST:
        size = f"{dataset.Columns} x {dataset.Rows}"
        raise UnreadableImage(f"{size} pixels; {SMALLEST} are the least")
    meaning = dataset.PhotometricInterpretation
    grey = meaning in ("MONOCHROME1", "MONOCHROME2") and dataset.SamplesPerPixel == 1
    colour = re.match("RGB|YBR", meaning) and dataset.SamplesPerPixel == 3
    known = grey or (colour and dataset.BitsAllocated == 8)
    if not known or number(dataset, "NumberOfFrames", 1) > 1:
        raise UnreadableImage("DICOM of several frames, or neither grey nor RGB of 8 bits")
    found = view_doubts(dataset) + check_compressed(dataset)
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    return Stored(
        pixels=decoded(dataset),
        grey=grey,
        inverted=meaning == "MONOCHROME1",
        bits=bits,
        shift=max(dataset.get("HighBit", bits - 1) + 1 - bits, 0),
        signed=signed,
        padding=read_padding(dataset),
        modality=read_table(dataset, "ModalityLUTSequence", signed),
        rescale=(number(dataset, "RescaleSlope", 1), number(dataset, "RescaleIntercept", 0)),
        voi=read_table(dataset, "VOILUTSequence", signed),
        window=read_window(dataset),
        warnings=found,
    )


def number(dataset, name, default=None):
    """An element as a number, the first of several; ValueError if it is none."""
    value = dataset.get(name, default)
    if value is None:
        return None
    value = float(value if isinstance(value, (str, int, float)) else value[0])
    if not math.isfinite(value):
        raise ValueError(name)
    return value


def check_compressed(dataset):
    """Check compressed pixels against the dataset; warnings.

    The code itself says what compressed it. Where the transfer syntax says another method, it is
    changed to the code's.
    """
    from pydicom.encaps import get_frame
    from pydicom.uid import UID

    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == RLE or not dataset.PixelData.startswith(ENCAPSULATED):
        return []
    code = get_frame(dataset.PixelData, 0, number_of_frames=1)
    kind, width, height = frame_header(code)
    if (width, height) != (dataset.Columns, dataset.Rows):
        shape = f"{width} x {height} pixels in the code, {dataset.Columns} x {dataset.Rows} by the"
        raise UnreadableImage(f"{shape} elements Columns and Rows")
    if b"\xff\xd9" not in code[-16:]:
        raise UnreadableImage("the compressed pixels are cut short")
    if kind not in SYNTAXES or syntax in SYNTAXES[kind]:
        return []
    dataset.file_meta.TransferSyntaxUID = UID(SYNTAXES[kind][0])
    return [f"TransferSyntaxUID is wrong: the pixels are{syntax_of(dataset).removeprefix(',')}"]


def frame_header(code):
    """(a key of SYNTAXES or another marker, width, height) of JPEG, JPEG-LS or JPEG 2000 code."""
    place = code.find(JPEG_2000, 0, 1024)
    if place >= 0:
        right, bottom, left, top = np.frombuffer(code, ">u4", 4, place + 8).tolist()
        return JPEG_2000, right - left, bottom - top
    for marker, start, _ in jpeg_segments(code):
        if is_frame(marker):
            height, width = np.frombuffer(code, ">u2", 2, start + 5).tolist()
            return marker, width, height
    raise UnreadableImage("compressed pixels without the header of JPEG or JPEG 2000")


def decoded(dataset):
    """Pixels as they are allocated, colour as RGB."""
    from pydicom.pixels import get_decoder

    decoder = get_decoder(dataset.file_meta.TransferSyntaxUID)
    if not decoder.is_available:
        raise UnreadableImage(f"DICOM{syntax_of(dataset)} needs a decoder: {PYLIBJPEG}")
    pixels, _ = decoder.as_array(dataset, correct_unused_bits=False)
    samples = () if dataset.SamplesPerPixel == 1 else (3,)
    if pixels.shape != (dataset.Rows, dataset.Columns, *samples):
        raise UnreadableImage("DICOM whose pixels are no picture of its Rows and Columns")
    return pixels


def read_padding(dataset):
    """First and last value of PixelPaddingValue and its range, as they are stored, or None."""
    first = padding_value(dataset, "PixelPaddingValue")
    last = padding_value(dataset, "PixelPaddingRangeLimit")
    if first is None:
        return None
    return tuple(sorted((first, first if last is None else last)))


def padding_value(dataset, name):
    """An element as a pixel of as many bits and of the sign that pixels have, or None."""
    value = dataset.get(name)
    if value is None:
        return None
    value = int.from_bytes(value[:2], "little") if isinstance(value, bytes) else int(value)
    value %= 1 << dataset.BitsAllocated
    signed = dataset.PixelRepresentation == 1 and value >> (dataset.BitsAllocated - 1)
    return value - (1 << dataset.BitsAllocated) if signed else value


def read_table(dataset, name, signed):
    """The first Table of a sequence of look-up tables, or None."""
    if name not in dataset:
        return None
    item = dataset.get(name)[0]
    n, first, bits = (int(value) for value in item.LUTDescriptor)
    if signed and first >= 1 << 15:
        first -= 1 << 16
    entries = read_entries(item.LUTData, n or 1 << 16, dataset.file_meta.TransferSyntaxUID)
    least, largest = int(entries.min()), int(entries.max())
    if largest.bit_length() == bits:
        return Table(first, entries, 0, (1 << bits) - 1, [])
    kind = "Modality" if name.startswith("Modality") else "VOI"
    found = [f"{kind} LUT: depth and entries disagree, the range of the entries was taken"]
    return Table(first, entries, least, max(largest, least + 1), found)


def read_entries(data, n, syntax):
    """The n entries of LUTData, int64: of 16 bits, or of 8 bits packed in pairs, lower first."""
    if isinstance(data, bytes):
        data = np.frombuffer(data, "<u2" if syntax.is_little_endian else ">u2", len(data) // 2)
    words = np.atleast_1d(np.array(data, dtype=np.int64))
    if len(words) == (n + 1) // 2 < n:
        words = np.stack([words & 255, words >> 8], axis=1).ravel()
    if len(words) < n:
        raise UnreadableImage(f"look-up table of {len(words)} entries; its descriptor says {n}")
    return words[:n]


def read_window(dataset):
    """(center, width, function) of the first window, or None."""
    center, width = number(dataset, "WindowCenter"), number(dataset, "WindowWidth")
    if center is None or width is None:
        return None
    function = str(dataset.get("VOILUTFunction", "LINEAR")).upper()
    if width <= 0 or (width < 1 and function == "LINEAR"):
        raise ValueError("WindowWidth")
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise ValueError("VOILUTFunction")
    return center, width, function


def view_doubts(dataset):
    """Warnings of a DICOM file's elements; none quotes them."""
    found = []
    words = set(re.findall("[A-Z]+", str(dataset.get("ViewPosition") or "").upper()))
    if words & LATERAL:
        found.append("lateral view (ViewPosition)")
    elif not words:
        found.append("view not known (no ViewPosition)")
    elif not words & {"AP", "PA"}:
        found.append("not a frontal view (ViewPosition)")
    if dataset.get("Modality") not in MODALITIES:
        found.append("no radiograph by its Modality")
    if dataset.get("BurnedInAnnotation") == "YES":
        found.append("text burned in (BurnedInAnnotation), which heatmaps show")
    return found


# From stored values to grey


def dicom_to_image(stored):
    """PIL image (mode L or RGB) of what a viewer shows, and warnings.

    Grey: modality LUT, then VOI LUT or window, the first of several; the range these can give
    becomes 0 to 255, or where there are none a guess. Padding is black. MONOCHROME1 is inverted.
    """
    if not stored.grey:
        return Image.fromarray(stored.pixels), []
    stored, found = with_bits_of_content(stored)
    values = stored_values(stored)
    padding = padding_of(stored, values)
    if padding.all():
        raise UnreadableImage("all pixels are padding (PixelPaddingValue)")
    share, more = shares(values, values[~padding], stored)
    if stored.inverted:
        share = 1 - share
    share[padding] = 0
    return Image.fromarray(np.rint(share.clip(0, 1) * 255).astype(np.uint8)), found + more


def with_bits_of_content(stored):
    """Stored with the bits that its pixels use, where these aren't what the file says; warnings.

    Spare bits with one pattern are an overlay's or nothing; with many they are the pixels'.
    """
    pixels = stored.pixels.astype(np.int64)
    content, allocated = pixels[~padding_of(stored, pixels)], 8 * stored.pixels.itemsize
    least = -(1 << stored.bits - 1) if stored.signed else 0
    shifted = content >> stored.shift
    if not ((shifted < least) | (shifted >= 1 << stored.bits)).any():
        return stored, []
    spare = allocated - stored.bits
    if stored.shift == 0 and not (content & ((1 << spare) - 1)).any():
        found = "pixels are in the upper bits, other than HighBit says, and were read so"
        return stored._replace(shift=spare), [found]
    if len(np.unique(content >> stored.bits)) > 2:
        found = f"pixels have more bits than BitsStored says, read as {allocated} bits"
        return stored._replace(bits=allocated, shift=0), [found]
    return stored, ["pixels have more bits than BitsStored says, which were left out"]


def stored_values(stored):
    """Pixel values, int64 (h, w), without the bits that none are stored in."""
    values = stored.pixels.astype(np.int64) >> stored.shift & (1 << stored.bits) - 1
    if stored.signed:
        values -= (values >> (stored.bits - 1)) << stored.bits
    return values


def padding_of(stored, values):
    """Where pixels are padding, bool (h, w): by what is stored, also in spare bits."""
    if stored.padding is None:
        return np.zeros(values.shape, bool)
    first, last = stored.padding
    return np.logical_or.reduce([(v >= first) & (v <= last) for v in (stored.pixels, values)])


def shares(values, content, stored):
    """Grey between black (0) and white (1), float (h, w), and warnings.

    values: int (h, w); content: those of them that are no padding.
    """
    ends = np.array(stored_range(content, stored))
    values, content, ends = (modality(part, stored) for part in (values, content, ends))
    if stored.voi:
        values = looked_up(stored.voi, np.rint(values).astype(np.int64))
        return scaled(values, stored.voi.black, stored.voi.white), stored.voi.warnings
    if stored.window:
        return windowed(values, *stored.window), []
    found = ["no window in the file: the grey range was taken from the pixels"]
    if stored.modality:
        ends = np.array([stored.modality.black, stored.modality.white])
        found += stored.modality.warnings
    black, white = ends.min(), ends.max()
    if np.ptp(content) < (white - black) / 2:
        black, white = content.min(), content.max()
    return scaled(values, black, white), found


def stored_range(content, stored):
    """Least and largest value of the depth that the content fills, no more than is stored."""
    least, largest = int(content.min()), int(content.max())
    depths = [bits for bits in DEPTHS if bits < stored.bits] + [stored.bits]
    if least >= 0:
        return 0, next((1 << bits) - 1 for bits in depths if largest < 1 << bits)
    half = next(1 << bits - 1 for bits in depths if max(-least - 1, largest) < 1 << bits - 1)
    return -half, half - 1


def modality(values, stored):
    """Values after the modality LUT, or the rescaling, of a file."""
    if stored.modality:
        return looked_up(stored.modality, values)
    slope, intercept = stored.rescale
    return values * slope + intercept


def looked_up(table, values):
    return table.entries[np.clip(values - table.first, 0, len(table.entries) - 1)]


def scaled(values, black, white):
    return (values - float(black)) / (float(white) - float(black) or 1)


def windowed(values, center, width, function):
    """Values in a window, 0 to 1, by the formulas of DICOM PS3.3, C.11.2.1."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - center) / width, -700, 700)))
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if width == 0:
        return (values > center).astype(float)
    return ((values - center) / width + 0.5).clip(0, 1)
