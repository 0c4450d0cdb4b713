"""Show duplicate COVID-19 images side by side, with the split and class of each.

Pairs that lie in two splits or two classes come first, then the most correlated; at most --most
pairs are shown.
"""

from pathlib import Path

import numpy as np
from cxr.cli import parser, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.images import to_square
from cxr.figures import contact_sheet

SHOWN_SIZE, COLUMNS = 200, 4


def plot_duplicates(folder, duplicates, split, most, out):
    pairs = read_image_table(duplicates, ["duplicate", "class", "duplicate_class", "correlation"])
    splits = read_image_table(split, ["split"], unique=["image"]).set_index("image").split
    pairs["split"], pairs["duplicate_split"] = pairs.image.map(splits), pairs.duplicate.map(splits)
    pairs["apart"] = (pairs.split != pairs.duplicate_split) | (
        pairs["class"] != pairs.duplicate_class
    )
    pairs = pairs.sort_values(["apart", "correlation"], ascending=False, kind="stable").head(most)
    images, captions = [], []
    for row in pairs.itertuples():
        both = [
            to_square(read_grey(folder / name), SHOWN_SIZE) for name in (row.image, row.duplicate)
        ]
        images.append(np.hstack(both))
        names = f"{Path(row.image).stem} ({row.split}), {Path(row.duplicate).stem}"
        captions.append(f"{names} ({row.duplicate_split})\n{row.kind}, {row.correlation:.3f}")
    contact_sheet(out, images, captions, COLUMNS)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--duplicates", type=Path, required=True, help="CSV of find_duplicates")
    arguments.add_argument("--split", type=Path, required=True, help="CSV of split_covid19")
    arguments.add_argument("--most", type=int, default=40, help="pairs; default: 40")
    arguments.add_argument("--out", type=Path, required=True, help="JPEG to write")
    with user_errors():
        plot_duplicates(**vars(arguments.parse_args()))
