"""Find duplicate images in the COVID-19 database, edited ones included.

Exact duplicates have equal grey pixels. Near duplicates are the same picture cropped, framed,
annotated, scaled, rotated a little, mirrored, inverted or with other grey levels: registered, their
local contrast correlates by at least --correlation (cxr/data/duplicates.py). Writes a row per pair:
image, duplicate, class, duplicate_class, kind (exact, near), hamming_distance (of perceptual
hashes, of 64 bits), correlation, and change, an estimate of what was done to one of the two.
--out-unsure has the pairs below, from --unsure on, to look at: they don't count as duplicates.
"""

from itertools import combinations
from pathlib import Path

import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.duplicates import SIZE, Copy, add_settings, find_copies, hash_distance
from cxr.data.images import to_square
from cxr.files import write_table


def find_duplicates(folder, manifest, candidates, correlation, unsure, out, out_unsure):
    table = read_image_table(manifest, ["class", "reason"], unique=["image"])
    table = table[table.reason == ""].reset_index(drop=True)
    paths = progress(table.image, "images")
    pictures = [to_square(read_grey(folder / image), SIZE) for image in paths]
    found = {pair[:2]: pair for pair in find_copies(pictures, candidates=candidates, least=unsure)}
    exact = [
        pair
        for _, places in table.groupby("pixels_sha256").groups.items()
        for pair in combinations(sorted(places), 2)
    ]
    found |= {pair: Copy(*pair, 1.0, "same") for pair in exact}
    rows = []
    for (first, second), pair in sorted(found.items()):
        both = table.loc[[first, second]]
        kind = "exact" if both.pixels_sha256.nunique() == 1 else "near"
        distance = hash_distance(pictures[first], pictures[second])
        value = round(pair.correlation, 4)
        rows.append((*both.image, *both["class"], kind, distance, value, pair.change))
    columns = ["image", "duplicate", "class", "duplicate_class", "kind", "hamming_distance"]
    pairs = pd.DataFrame(rows, columns=[*columns, "correlation", "change"])
    write_table(out, pairs[pairs.correlation >= correlation])
    write_table(out_unsure, pairs[pairs.correlation < correlation])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    add_settings(arguments)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--out-unsure", type=Path, required=True, help="CSV to write")
    with user_errors():
        find_duplicates(**vars(arguments.parse_args()))
