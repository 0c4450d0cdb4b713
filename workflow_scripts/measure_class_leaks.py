"""Measure how well properties of the image files predict the class.

Writes a row per property of the files: property, the share of each class's images that has it, and
cramers_v of property and class, from 0 (says nothing about the class) to 1 (determines it). Grey
arrays of one size, which the nets get, have none of these properties; differences inside the image
are not covered here.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.files import write_table
from scipy.stats.contingency import association

TINTED = 1  # grey values between an image's red, green and blue, on average


def measure_class_leaks(manifest, out):
    table = read_image_table(manifest, ["class", "mode", "reason", "tint", "width", "height"])
    table = table[table.reason == ""]
    table = table.astype({"width": int, "height": int})
    size = table.width.astype(str) + " x " + table.height.astype(str)
    properties = {
        "tinted": table.tint.astype(float) > TINTED,
        "stored in colour": ~table["mode"].isin(["1", "L", "I;16"]),
        "square": table.width == table.height,
        f"of the most common size ({size.mode()[0]})": size == size.mode()[0],
    }
    rows = []
    for name, has in properties.items():
        shares = has.groupby(table["class"]).mean().reindex(CLASSES)
        counts = pd.crosstab(has, table["class"])
        v = association(counts, method="cramer") if min(counts.shape) > 1 else 0.0
        rows.append({"property": name, **shares.round(4), "cramers_v": round(v, 4)})
    write_table(out, pd.DataFrame(rows))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        measure_class_leaks(**vars(arguments.parse_args()))
