"""Write a page of all test images of a net, with predictions, probabilities and heatmaps.

The page, --page filled with image names and numbers as JSON, opens from disk without a server. It
shows the folder --pictures that explain_test_set wrote. InputError if the predictions are of other
images, in another order, or of other classes.
"""

import os
from pathlib import Path

import numpy as np
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES
from cxr.evaluation.predictions import final_predictions, read_predictions
from cxr.lrp.methods import METHODS, SHOWN
from cxr.pages import add_page, write_page
from cxr.tables import read_table


def write_gallery(predictions, edited, unedited, methods, pictures, out, page, style):
    table = read_predictions(predictions)
    decided = []
    for version, path in (("edited", edited), ("unedited", unedited)):
        images = read_table(path, filled=["image", "class"])
        rows = final_predictions(table, version)
        if not np.array_equal(rows[["image", "class"]], images[["image", "class"]]):
            raise InputError(f"{predictions}: its {version} images or classes differ from {path}")
        decided.append(rows.to_dict("records"))
    if [row["image"] for row in decided[0]] != [row["image"] for row in decided[1]]:
        raise InputError(f"{unedited}: its images differ from {edited}, or are in another order")
    data = {
        "net": out.parent.name,
        "classes": list(CLASSES),
        "methods": {name: METHODS[name].title for name in methods},
        "method": SHOWN if SHOWN in methods else methods[0],
        "pictures": os.path.relpath(pictures, out.parent),
        "images": [
            {"image": one["image"], "class": one["class"]}
            | {
                version: {
                    "predicted": row["predicted"],
                    "sigmoids": [round(row[name], 6) for name in CLASSES],
                }
                for version, row in (("edited", one), ("unedited", other))
            }
            for one, other in zip(*decided, strict=True)
        ],
    }
    write_page(out, page, style, data=data)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--edited", type=Path, required=True, help="CSV of the test images")
    arguments.add_argument("--unedited", type=Path, required=True, help="CSV of the test images")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    arguments.add_argument("--pictures", type=Path, required=True, help="folder that it shows")
    arguments.add_argument("--out", type=Path, required=True, help="HTML to write")
    add_page(arguments, "gallery.html")
    with user_errors():
        write_gallery(**vars(arguments.parse_args()))
