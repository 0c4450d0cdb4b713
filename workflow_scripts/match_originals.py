"""Find patients of COVID-19 images by matching them with files that keep their original names.

--originals is a folder of images, such as those of Kermany et al. 2018, which the database took
and renamed. Two images are the same picture if their perceptual hashes differ in at most
--hamming-distance bits (of 64) and their grey values, at 64 x 64 pixels, correlate by at least
--correlation. The patient is in the file name: person1_virus_6, IM-0115-0001 and
NORMAL-4512-0001 (all but the last number), 00000013_026 (all but the last number).

Writes a row per image found, with the original that correlates most: image, original, patient_id
(empty if the name has none), hamming_distance, correlation.
"""

import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
from cxr.cli import InputError, add_threads, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import image_files, print_passed, read_grey
from cxr.data.duplicates import correlate
from cxr.data.pixels import reason_of
from cxr.files import write_table

PATIENT = re.compile(r"(person\d+)_|(.+-\d+)-\d+$|(\d{8})_\d+$")


def match_originals(folder, manifest, originals, hamming_distance, correlation, threads, out):
    table = read_image_table(manifest, ["class", "reason"], unique=["image"])
    table = table[table.reason == ""]
    passed = Counter()
    paths = [originals / name for name in image_files(originals, passed)]
    print_passed(originals, passed)
    if not paths:
        raise InputError(f"{originals}: no image in this folder (covid19.originals)")
    with ThreadPoolExecutor(threads) as pool:
        hashes = list(progress(pool.map(hash_of, paths), "originals", total=len(paths)))
    readable = np.array([found is not None for found in hashes])
    paths = np.array(paths, dtype=object)[readable]
    hashes = np.array([found for found in hashes if found is not None], np.uint64)
    find = partial(best_original, folder, paths, hashes, hamming_distance, correlation)
    with ThreadPoolExecutor(threads) as pool:
        found = pool.map(find, table.image, table.phash)
        rows = [row for row in progress(found, "images", total=len(table)) if row]
    columns = ["image", "original", "hamming_distance", "correlation"]
    pairs = pd.DataFrame(rows, columns=columns)
    pairs["original"] = [str(path.relative_to(originals)) for path in pairs.original]
    pairs.insert(2, "patient_id", [patient_of(Path(name).stem) for name in pairs.original])
    write_table(out, pairs)
    known = int((pairs.patient_id != "").sum())
    print(f"{len(pairs)} of {len(table)} images match one of {len(paths)} originals", end=", ")
    print(f"{known} of them with a patient")


def hash_of(path):
    """Perceptual hash of a file's image, or None, with a warning, if it can't be read."""
    try:
        return int(str(imagehash.phash(read_grey(path))), 16)
    except Exception as error:  # nothing about one image may cost the others their rows
        print(f"warning: {path}: {reason_of(error)}", file=sys.stderr)
        return None


def best_original(folder, paths, hashes, most, least, image, phash):
    """(image, original, bits that differ, correlation) of its best original, or None."""
    distances = np.bitwise_count(hashes ^ np.uint64(int(phash, 16)))
    near = np.flatnonzero(distances <= most)
    grey = read_grey(folder / image) if len(near) else None
    found = [(correlate(grey, read_grey(paths[place])), place) for place in near]
    value, place = max(found, default=(-1, None))
    if value < least:
        return None
    return image, paths[place], int(distances[place]), round(value, 4)


def patient_of(name):
    """The patient that a file's name tells, or an empty string."""
    found = PATIENT.match(name)
    return next(filter(None, found.groups())) if found else ""


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument("--originals", type=Path, required=True, help="folder of images")
    arguments.add_argument(
        "--hamming-distance", type=int, required=True, help="largest distance, in bits"
    )
    arguments.add_argument("--correlation", type=float, required=True, help="smallest correlation")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        match_originals(**vars(arguments.parse_args()))
