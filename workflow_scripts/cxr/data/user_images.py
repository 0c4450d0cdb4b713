"""Radiographs of a user: pictures and DICOM files, and what about them a net was not made for."""

import hashlib
from collections import Counter

import numpy as np

from cxr.data.decoding import decode, grey_of, read_bytes, to_grey
from cxr.data.dicom import is_dicom, read_dicom
from cxr.data.folders import walk
from cxr.data.images import to_square

PICTURES = {".png", ".jpg", ".jpeg", ".tif", ".tiff"}
DICOM = {".dcm", ".dicom"}

# Tried on 540 X-rays of both data sets: their tint is at most 10.7, their deviation at least 24.9.
MOST_TINT = 15  # grey levels
LEAST_DEVIATION = 10  # grey levels
MOST_ELONGATED = 2  # long side / short side; films are 1 to 1.25


def find_images(given, out):
    """Files that are given and those below given folders: (paths, Counter of what is skipped).

    Below folders that is what has the suffix of a picture or of DICOM, or DICOM's mark inside;
    see walk for what is passed over. The counter is by the reason. A folder that can't be listed
    is among the paths.
    """
    paths, skipped = {}, Counter()
    for path in given:
        for found, reason in walk(path, out) if path.is_dir() else [(path, None)]:
            if reason is None and found != path and not is_image(found):
                reason = "no images by their names"
            if reason:
                skipped[reason] += 1
            else:
                paths[found.absolute()] = found
    return list(paths.values()), skipped


def is_image(path):
    """Whether a file's name, or DICOM's mark in it, says that it is an image."""
    if path.is_dir() or path.suffix.lower() in PICTURES | DICOM:
        return True
    try:
        with open(path, "rb") as file:
            return path.name != "DICOMDIR" and is_dicom(file.read(132))
    except OSError:
        return False


def read_radiograph(path, sizes):
    """Read a picture or a DICOM file for nets that take size x size pixels, for each of sizes.

    Returns a list of uint8 (size, size), warnings (strings), and the file's sha256. Raises
    InputError or OSError if it can't be read.
    """
    content = read_bytes(path)
    grey, found = read_content(content, path.suffix.lower() in DICOM)
    squares = [to_square(grey, size) for size in sizes]
    for pixels in squares:
        found += [text for text in quality_warnings(grey, pixels) if text not in found]
    return squares, found, hashlib.sha256(content).hexdigest()


def read_content(content, named_dicom):
    """Grey PIL image of the bytes of a file, read as in training or as DICOM, and warnings."""
    if named_dicom or is_dicom(content):
        image, found = read_dicom(content)
        return to_grey(image), found + colour_doubts(image)
    picture = decode(content)
    return grey_of(picture), picture.warnings + colour_doubts(picture.image)


def colour_doubts(image):
    """A warning where pixels are far from grey: red, green and blue differ, on average."""
    if len(image.getbands()) < 3 and image.mode != "P":
        return []
    tint = np.ptp(np.asarray(image.convert("RGB")), axis=2).mean()  # as in inspect_covid19
    return ["strong colour, not like a radiograph"] if tint > MOST_TINT else []


def quality_warnings(grey, pixels):
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
