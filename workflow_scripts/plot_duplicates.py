"""Show duplicate COVID-19 images side by side, with the split of each and how one was edited.

The least sure come first, as they are what is worth a look: of --duplicates those of the lowest
correlation, then of --unsure, which are not called duplicates, those of the highest; at most --most
pairs of each.
"""

from pathlib import Path
from textwrap import wrap

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.images import to_square
from cxr.figures import contact_sheet

SHOWN_SIZE, COLUMNS = 200, 4


def plot_duplicates(folder, duplicates, unsure, split, most, out):
    columns = ["duplicate", "class", "duplicate_class", "correlation", "change"]
    called = read_image_table(duplicates, columns)
    called = called.sort_values("correlation", kind="stable").head(most)
    others = read_image_table(unsure, columns).assign(kind="not called the same")
    others = others.sort_values("correlation", ascending=False, kind="stable").head(most)
    splits = read_image_table(split, ["split"], unique=["image"]).set_index("image").split
    pairs = pd.concat([called, others])
    pairs["split"], pairs["duplicate_split"] = pairs.image.map(splits), pairs.duplicate.map(splits)
    images, captions = [], []
    for row in pairs.itertuples():
        both = [
            to_square(read_grey(folder / name), SHOWN_SIZE) for name in (row.image, row.duplicate)
        ]
        images.append(np.hstack(both))
        names = f"{Path(row.image).stem} ({row.split}), {Path(row.duplicate).stem}"
        change = "\n".join(wrap(f"{row.kind}, {row.correlation:.3f}: {row.change}", 40))
        captions.append(f"{names} ({row.duplicate_split})\n{change}")
    contact_sheet(out, images, captions, COLUMNS)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--duplicates", type=Path, required=True, help="CSV of find_duplicates")
    arguments.add_argument("--unsure", type=Path, required=True, help="its CSV of unsure pairs")
    arguments.add_argument("--split", type=Path, required=True, help="CSV of split_covid19")
    arguments.add_argument("--most", type=int, default=20, help="pairs of each; default: 20")
    arguments.add_argument("--out", type=Path, required=True, help="JPEG to write")
    with user_errors():
        plot_duplicates(**vars(arguments.parse_args()))
