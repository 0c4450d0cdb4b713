"""Propose which COVID-19 images are lateral views, and draw a sheet to check them.

If the collection calls a share of a page's radiographs lateral (match_metadata), that share of the
page's images is proposed, the least frontal first. How frontal an image looks is its
correlation with the mean of all images of the database and their mirror images, at 32 x 32 pixels
and the shift with the highest correlation.

Writes image, frontal and views of the proposed images, and a contact sheet of all images of the
class: the proposed ones, then the others, the least frontal first. Check the sheet; where the
proposal is wrong, write a list of your own (covid19.lateral_views).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.images import to_square
from cxr.figures import contact_sheet
from cxr.files import write_table
from PIL import Image

COMPARED_SIZE, LARGEST_SHIFT = 32, 4  # pixels
SHOWN_SIZE, COLUMNS = 160, 15


def propose_lateral_views(folder, manifest, metadata, out, sheet):
    table = read_image_table(manifest, ["class", "reason"], unique=["image"])
    table = table[table.reason == ""]
    small = np.stack(
        [
            to_square(read_grey(folder / image), SHOWN_SIZE)
            for image in progress(table.image, "images")
        ]
    )
    table["frontal"] = frontal(small).round(4)
    table["small"] = list(small)
    table = table[table["class"] == "covid19"]
    table = table.merge(read_image_table(metadata, ["url", "views"])[["image", "url", "views"]])
    table = table.sort_values(["frontal", "image"])
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
    write_table(out, proposed[["image", "frontal", "views"]])
    print(f"{len(proposed)} of {len(table)} images are proposed as lateral views; check {sheet}")


def n_lateral(views, n_images):
    """Of a page's n_images, how many are lateral if their share is that of views (`L|PA|PA`)."""
    lateral = [view.startswith("L") for view in views.split("|")]
    return int(np.ceil(n_images * sum(lateral) / len(lateral) - 0.5))


def frontal(images):
    """How frontal each of uint8 (n, s, s) looks, -1 to 1, if most of them are frontal; (n,)."""
    squares = np.stack([to_square(Image.fromarray(image), COMPARED_SIZE) for image in images])
    squares = scaled(squares.astype(float))
    mean = squares.mean(axis=0)
    mean += mean[:, ::-1]
    shifts = range(-LARGEST_SHIFT, LARGEST_SHIFT + 1)
    found = [
        (scaled(part(squares, down, right)) * scaled(part(mean, -down, -right))).mean(axis=(1, 2))
        for down in shifts
        for right in shifts
    ]
    return np.max(found, axis=0)


def part(images, down, right):
    """The part of (..., s, s) that is left when it is moved up and to the left, and cut off."""
    size = images.shape[-1]
    rows, columns = (slice(max(0, shift), size + min(0, shift)) for shift in (down, right))
    return images[..., rows, columns]


def scaled(images):
    """(..., h, w) with mean 0 and mean square 1, or 0 where all pixels are equal."""
    images = images - images.mean(axis=(-2, -1), keepdims=True)
    deviation = images.std(axis=(-2, -1), keepdims=True)
    return np.divide(images, deviation, out=np.zeros_like(images), where=deviation > 0)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument("--metadata", type=Path, required=True, help="CSV of match_metadata")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--sheet", type=Path, required=True, help="JPEG to write")
    with user_errors():
        propose_lateral_views(**vars(arguments.parse_args()))
