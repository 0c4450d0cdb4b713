"""Propose which COVID-19 images are lateral views, and draw a sheet of all to check it on.

Where the collection calls some of a page's radiographs lateral (match_metadata), that share of the
page's images is proposed, the least symmetric ones first. Symmetry is the correlation of an image
with its mirror image at 32 x 32 pixels, at the sideways shift where it is largest.

Writes image, symmetry, views of the proposed images, and a contact sheet of all images of the
class: the proposed ones, then the others, the least symmetric first. It is a proposal: look at
the sheet, and write a list of your own where it is wrong (covid19.lateral_views).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.decoding import read_grey
from cxr.figures import contact_sheet
from cxr.files import write_table
from cxr.images import to_square
from cxr.logs import parser, progress, user_errors

COMPARED_SIZE, LARGEST_SHIFT = 32, 6  # pixels
SHOWN_SIZE, COLUMNS = 160, 15


def propose_lateral_views(folder, manifest, metadata, out, sheet):
    table = pd.read_csv(manifest, keep_default_na=False)
    table = table[(table["class"] == "covid19") & (table.reason == "")]
    table = table.merge(pd.read_csv(metadata, keep_default_na=False)[["image", "url", "views"]])
    small, symmetries = [], []
    for image in progress(table.image, "symmetry"):
        grey = read_grey(folder / image)
        small.append(to_square(grey, SHOWN_SIZE))
        symmetries.append(round(symmetry(to_square(grey, COMPARED_SIZE)), 4))
    table["symmetry"], table["small"] = symmetries, small
    table = table.sort_values(["symmetry", "image"])
    table["proposed"] = False
    for _, page in table[table["views"] != ""].groupby("url"):
        number = n_lateral(page["views"].iloc[0], len(page))
        table.loc[page.index[:number], "proposed"] = True
    proposed = table[table.proposed]
    shown = pd.concat([proposed, table[~table.proposed]])
    captions = [
        f"{'LATERAL? ' if row.proposed else ''}{Path(row.image).stem}" for row in shown.itertuples()
    ]
    contact_sheet(sheet, list(shown.small), captions, COLUMNS)
    write_table(out, proposed[["image", "symmetry", "views"]])
    print(f"{len(proposed)} of {len(table)} images are proposed as lateral views: check {sheet}")


def n_lateral(views, n_images):
    """Of a page's n_images, how many are lateral if their share is that of views (`L|PA|PA`)."""
    lateral = [view.startswith("L") for view in views.split("|")]
    return int(np.ceil(n_images * sum(lateral) / len(lateral) - 0.5))


def symmetry(pixels):
    """Largest correlation, -1 to 1, of uint8 (s, s) with its mirror image about a middle column."""
    size = pixels.shape[1]
    found = []
    for shift in range(-LARGEST_SHIFT, LARGEST_SHIFT + 1):
        part = pixels[:, max(0, shift) : size + min(0, shift)].astype(float)
        part -= part.mean()
        found.append((part * part[:, ::-1]).sum() / max((part**2).sum(), 1e-12))
    return float(max(found))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="holds the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="of inspect_covid19")
    arguments.add_argument("--metadata", type=Path, required=True, help="of match_metadata")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--sheet", type=Path, required=True, help="JPEG to write")
    with user_errors():
        propose_lateral_views(**vars(arguments.parse_args()))
