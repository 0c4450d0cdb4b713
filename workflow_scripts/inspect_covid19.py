"""Inspect every image of the COVID-19 database: how it is stored, and what it looks like.

Writes a row per image of the database's list, with these columns added:

pixels_sha256: of the size and the grey pixels, so equal in every file format;
width, height, mode: as stored, mode in PIL's notation (L, RGB, ...);
tint: mean over pixels of the largest minus the smallest of red, green and blue, 0 to 255;
phash: 64-bit perceptual hash of the grey image, hexadecimal;
reason: empty, or why the image can't be used; then the columns above are empty;
warnings: of guesses in decoding, such as the depth of grey that no tag says.

Fails if the share of unusable images exceeds --max-unreadable, or if a class does not have its
--expected number of images.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from cxr.cli import InputError, add_threads, pair, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import check_unreadable, decode, grey_of, print_warnings, read_bytes
from cxr.data.pixels import reason_of
from cxr.files import write_table


def inspect_covid19(folder, images, max_unreadable, out, threads, expected=()):
    table = read_image_table(images, ["class"], unique=["image"], empty=False)
    check_counts(images, table, dict(expected))
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(describe, [folder / image for image in table.image])
        rows = list(progress(found, "images", total=len(table)))
    table = pd.concat([table, pd.DataFrame(rows)], axis=1)
    check_unreadable(folder, table, max_unreadable)
    print_warnings(folder, table)
    for column in ("width", "height"):
        table[column] = table[column].astype("Int64")
    write_table(out, table)


def describe(path):
    """What there is to say about one image, or why it can't be used, as a row."""
    try:
        return properties(decode(read_bytes(path)))
    except Exception as error:  # nothing about one image may cost the others their rows
        return {"reason": reason_of(error), "warnings": ""}


def properties(picture):
    """What there is to say about a Picture, as a row."""
    stored, grey = picture.image, grey_of(picture)
    pixels = np.asarray(grey)
    digest = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes())
    return {
        "pixels_sha256": digest.hexdigest(),
        "width": stored.width,
        "height": stored.height,
        "mode": picture.mode,
        "tint": round(tint(stored), 3),
        "phash": str(imagehash.phash(grey)),
        "reason": "",
        "warnings": "; ".join(picture.warnings),
    }


def tint(image):
    """Mean difference of the largest and the smallest of a pixel's red, green and blue."""
    if len(image.getbands()) < 3 and image.mode != "P":
        return 0.0
    return float(np.ptp(np.asarray(image.convert("RGB")), axis=2).mean())


def check_counts(path, table, expected):
    for name, number in expected.items():
        if (found := int((table["class"] == name).sum())) != number:
            raise InputError(
                f"{path}: {found} images of class {name}, expected {number} (sources.covid19): "
                "is it another version of the database, or incomplete?"
            )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--images", type=Path, required=True, help="CSV of download_covid19")
    arguments.add_argument("--max-unreadable", type=float, required=True, metavar="SHARE")
    arguments.add_argument("--expected", type=pair(int), nargs="*", default=[], metavar="CLASS=N")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        inspect_covid19(**vars(arguments.parse_args()))
