"""Radiographs of a user: pictures and DICOM files, and what about them a net was not made for.

Of a DICOM file only the elements named in ELEMENTS are read: what says who the patient is never
gets into memory, and errors of pydicom, which may quote the file, are not passed on.
"""

import hashlib
import io
import os
import re
import warnings
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.decoding import SMALLEST, UnreadableImage, read_bytes, read_grey, to_grey
from cxr.images import to_square
from cxr.logs import InputError

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
DICOM = {".dcm", ".dicom"}
ELEMENTS = [
    "Modality", "ViewPosition", "BurnedInAnnotation", "SamplesPerPixel",
    "PhotometricInterpretation", "PlanarConfiguration", "Rows", "Columns", "NumberOfFrames",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "ModalityLUTSequence",
    "RescaleSlope", "RescaleIntercept", "VOILUTSequence", "VOILUTFunction", "WindowCenter",
    "WindowWidth", "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
]  # fmt: skip
MODALITIES = {"CR", "DX", "RG"}  # computed, digital and scanned radiographs
LATERAL = {"LL", "RL", "LAT", "LATERAL", "LLAT", "RLAT", "LATL", "LATR"}

# Tried on 540 X-rays of both data sets: their tint is at most 10.7, their deviation at least 24.9.
MOST_TINT = 15  # grey levels
LEAST_DEVIATION = 10  # grey levels
MOST_ELONGATED = 2  # long side / short side; films are 1 to 1.25


def find_images(given, out):
    """Files that are given and those below given folders: (paths, number of skipped files).

    Below folders that is what has the suffix of a picture or of DICOM, or DICOM's mark inside;
    hidden files and what is in the folder out are passed over. A folder that can't be listed is
    among the paths.
    """
    paths, n_skipped = {}, 0
    for path in given:
        if not path.is_dir():
            paths[path.absolute()] = path
            continue
        for found in files_below(path, out):
            if is_image(found):
                paths[found.absolute()] = found
            else:
                n_skipped += 1
    return list(paths.values()), n_skipped


def files_below(folder, out):
    """Paths of the files below folder, and of its folders that can't be listed, in order."""
    closed = []
    for place, folders, names in os.walk(folder, onerror=closed.append):
        inside = [name for name in sorted(folders) if (Path(place) / name).resolve() != out]
        folders[:] = [name for name in inside if not name.startswith(".")]
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))
    yield from (Path(error.filename) for error in closed)


def is_image(path):
    """Whether a file's name, or DICOM's mark in it, says that it is an image."""
    if path.is_dir() or path.suffix.lower() in PICTURES | DICOM:
        return True
    try:
        with open(path, "rb") as file:
            return path.is_file() and path.name != "DICOMDIR" and has_mark(file.read(132))
    except OSError:
        return False


def has_mark(content):
    return content[128:132] == b"DICM"


def read_radiograph(path, size):
    """Read a picture or a DICOM file for a net that takes size x size pixels.

    Returns uint8 (size, size), warnings (strings), and the file's sha256. Raises InputError or
    OSError if it can't be read.
    """
    content = read_bytes(path)
    dicom = has_mark(content) or path.suffix.lower() in DICOM
    grey, found = read_dicom(content) if dicom else read_picture(content)
    pixels = to_square(grey, size)
    return pixels, found + doubts(grey, pixels), hashlib.sha256(content).hexdigest()


def read_picture(content):
    """Grey PIL image of the bytes of a picture, read as in training, and warnings."""
    grey, stored, found = read_grey(content), Image.open(io.BytesIO(content)), []
    if getattr(stored, "n_frames", 1) > 1:
        found.append("several pictures in the file, the first was read")
    return grey, found + colour_doubts(stored)


def read_dicom(content):
    """Grey PIL image of the bytes of a DICOM file as it is meant to be seen, and warnings."""
    try:
        import pydicom
    except ImportError as error:
        raise InputError("DICOM needs pydicom: pip install pydicom") from error
    dataset = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they quote the file
        try:
            dataset = pydicom.dcmread(io.BytesIO(content), specific_tags=ELEMENTS)
            image = shown(dataset.pixel_array, dataset)
            return to_grey(image), view_doubts(dataset) + colour_doubts(image)
        except UnreadableImage:
            raise
        except Exception as error:  # pydicom and its decoders raise what they please
            stored = f", stored as {dataset.file_meta.TransferSyntaxUID.name}" if dataset else ""
            message = f"no DICOM image that pydicom can decode{stored} ({type(error).__name__})"
            raise UnreadableImage(message) from None


def shown(pixels, dataset):
    """Stored pixels as a PIL image (mode L or RGB) of what a viewer shows.

    Grey ones, int (h, w): modality LUT, then VOI LUT or window, the first of several; the range
    these can give becomes 0 to 255, or where there are none that of the image. MONOCHROME1 is
    inverted.
    """
    from pydicom.pixels import apply_modality_lut, apply_voi, apply_windowing

    if min(dataset.Rows, dataset.Columns) < SMALLEST:
        size = f"{dataset.Columns} x {dataset.Rows}"
        raise UnreadableImage(f"{size} pixels; {SMALLEST} are the least")
    if dataset.SamplesPerPixel == 3 and pixels.ndim == 3 and pixels.dtype == np.uint8:
        return Image.fromarray(pixels)
    grey = dataset.PhotometricInterpretation in ("MONOCHROME1", "MONOCHROME2")
    if not grey or pixels.ndim != 2:
        raise UnreadableImage("DICOM of several frames, or neither grey nor RGB of 8 bits")
    values = apply_modality_lut(pixels, dataset)
    if lut := dataset.get("VOILUTSequence"):
        values = apply_voi(np.rint(values).astype(np.int64), dataset)
        low, high = 0, 2 ** lut[0].LUTDescriptor[2] - 1
    elif dataset.get("WindowCenter") is not None and dataset.get("WindowWidth") is not None:
        values = apply_windowing(values, dataset)
        low, high = apply_windowing(np.array([-1e9, 1e9]), dataset)
    else:
        low, high = values.min(), values.max()
    share = (values - float(low)) / (float(high) - float(low) or 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        share = 1 - share
    return Image.fromarray(np.rint(share.clip(0, 1) * 255).astype(np.uint8))


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


def colour_doubts(image):
    """A warning where pixels are far from grey: red, green and blue differ, on average."""
    if len(image.getbands()) < 3 and image.mode != "P":
        return []
    tint = np.ptp(np.asarray(image.convert("RGB")), axis=2).mean()  # as in inspect_covid19
    return ["strong colour, not like a radiograph"] if tint > MOST_TINT else []


def doubts(grey, pixels):
    """Warnings of a grey PIL image, and of its pixels as the net sees them, uint8 (size, size)."""
    found = []
    if min(grey.size) < len(pixels):
        found.append(f"tiny: {grey.width} x {grey.height} pixels, the net takes {len(pixels)}")
    if max(grey.size) > MOST_ELONGATED * min(grey.size):
        found.append(f"not of a chest X-ray's shape: {grey.width} x {grey.height} pixels")
    if np.std(pixels) < LEAST_DEVIATION:
        found.append("almost constant, not like a radiograph")
    elif looks_inverted(grey):
        found.append("may be inverted: bright corners, dark centre")
    return found


def looks_inverted(grey):
    """Whether bone may be black in a radiograph, a grey PIL image.

    The upper corners are brighter on average than the centre, and in that the mediastinum is
    darker than the lungs beside it. So were 0.6 % of the 540 X-rays, and 91 % of their negatives.
    """
    pixels = to_square(grey, 64).astype(float)
    corners, centre = pixels[:8, np.r_[:8, 56:64]], pixels[16:48, 16:48]
    mediastinum, lungs = pixels[16:48, 28:36], pixels[16:48, np.r_[12:24, 40:52]]
    return bool(corners.mean() > centre.mean() and mediastinum.mean() < lungs.mean())
