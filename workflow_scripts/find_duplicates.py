"""Find duplicate images in the COVID-19 database.

Exact duplicates have equal grey pixels. Near duplicates have perceptual hashes that differ in at
most --hamming-distance bits (of 64), and grey values that, at 64 x 64 pixels, correlate by at
least --correlation. Writes a row per pair: image, duplicate, class, duplicate_class, kind (exact,
near), hamming_distance, correlation.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.duplicates import correlate
from cxr.files import write_table


def find_duplicates(folder, manifest, hamming_distance, correlation, out):
    table = read_image_table(manifest, ["class", "reason"], unique=["image"])
    table = table[table.reason == ""].reset_index(drop=True)
    rows = []
    for first, second, distance in progress(close_pairs(table.phash, hamming_distance), "pairs"):
        pair = table.loc[[first, second]]
        found = correlate(*(read_grey(folder / image) for image in pair.image))
        if found >= correlation:
            exact = pair.pixels_sha256.nunique() == 1
            kind = "exact" if exact else "near"
            rows.append((*pair.image, *pair["class"], kind, distance, round(found, 4)))
    columns = ["image", "duplicate", "class", "duplicate_class", "kind", "hamming_distance"]
    write_table(out, pd.DataFrame(rows, columns=[*columns, "correlation"]))


def close_pairs(hashes, most):
    """(first, second, distance) of hexadecimal 64-bit hashes that differ in few enough bits."""
    bits = np.array([int(text, 16) for text in hashes], dtype=np.uint64)
    pairs = []
    for first in range(len(bits)):
        distance = np.bitwise_count(bits[first + 1 :] ^ bits[first])
        for second in np.flatnonzero(distance <= most):
            pairs.append((first, int(first + 1 + second), int(distance[second])))
    return pairs


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument(
        "--hamming-distance", type=int, required=True, help="largest distance, in bits"
    )
    arguments.add_argument("--correlation", type=float, required=True, help="smallest correlation")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        find_duplicates(**vars(arguments.parse_args()))
