"""Find patients of COVID-19 images by matching them with files that keep their original names.

--originals is a folder of images, such as those of Kermany et al. 2018, which the database took
and renamed. They are found as find_duplicates finds copies, edited ones included. The patient is in
the file name: person1_virus_6, IM-0115-0001 and NORMAL-4512-0001 (all but the last number),
00000013_026 (all but the last number).

Writes a row per image found, with the original that correlates most: image, original, patient_id
(empty if the name has none), hamming_distance, correlation, change.
"""

import re
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from cxr.cli import InputError, add_threads, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import image_files, print_passed, read_grey
from cxr.data.duplicates import SIZE, add_settings, find_copies, hash_distance
from cxr.data.images import to_square
from cxr.data.pixels import reason_of
from cxr.files import write_table

PATIENT = re.compile(r"(person\d+)_|(.+-\d+)-\d+$|(\d{8})_\d+$")


def match_originals(folder, manifest, originals, candidates, correlation, threads, out):
    table = read_image_table(manifest, ["class", "reason"], unique=["image"])
    table = table[table.reason == ""].reset_index(drop=True)
    passed = Counter()
    paths = [originals / name for name in image_files(originals, passed)]
    print_passed(originals, passed)
    if not paths:
        raise InputError(f"{originals}: no image in this folder (covid19.originals)")
    with ThreadPoolExecutor(threads) as pool:
        read = list(progress(pool.map(picture_of, paths), "originals", total=len(paths)))
        images = list(
            pool.map(lambda image: to_square(read_grey(folder / image), SIZE), table.image)
        )
    paths = [path for path, picture in zip(paths, read, strict=True) if picture is not None]
    pictures = [picture for picture in read if picture is not None]
    best = {}
    for pair in find_copies(images, pictures, candidates=candidates, least=correlation):
        if pair.first not in best or pair.correlation > best[pair.first].correlation:
            best[pair.first] = pair
    rows = [
        (
            table.image[first], paths[pair.second],
            hash_distance(images[first], pictures[pair.second]),
            round(pair.correlation, 4), pair.change,
        )
        for first, pair in best.items()
    ]  # fmt: skip
    columns = ["image", "original", "hamming_distance", "correlation", "change"]
    pairs = pd.DataFrame(rows, columns=columns)
    pairs["original"] = [str(path.relative_to(originals)) for path in pairs.original]
    pairs.insert(2, "patient_id", [patient_of(Path(name).stem) for name in pairs.original])
    write_table(out, pairs)
    known = int((pairs.patient_id != "").sum())
    print(f"{len(pairs)} of {len(table)} images match one of {len(paths)} originals", end=", ")
    print(f"{known} of them with a patient")


def picture_of(path):
    """A file's image, uint8 (SIZE, SIZE), or None, with a warning, if it can't be read."""
    try:
        return to_square(read_grey(path), SIZE)
    except Exception as error:  # nothing about one image may cost the others their rows
        print(f"warning: {path}: {reason_of(error)}", file=sys.stderr)
        return None


def patient_of(name):
    """The patient that a file's name tells, or an empty string."""
    found = PATIENT.match(name)
    return next(filter(None, found.groups())) if found else ""


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument("--originals", type=Path, required=True, help="folder of images")
    add_settings(arguments, unsure=False)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        match_originals(**vars(arguments.parse_args()))
