"""Split the COVID-19 images into train, val and test, by image within each class.

Lateral views (a list is required) and images that can't be read are excluded, with the reason.
Images of the same pixels stay where chance puts them, as in the paper.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.covid19 import read_image_table
from cxr.decoding import UnreadableImage, read_grey
from cxr.files import write_table
from cxr.logs import InputError, parser, progress, user_errors
from cxr.splits import split_class


def split_covid19(folder, manifest, lateral_views, test_per_class, validation_fraction, seed, out):
    if lateral_views is None:
        raise InputError(
            "no list of lateral views: look through the COVID-19 images, write the lateral ones to "
            "a CSV with the column image (COVID-19/NAME.png), and set covid19.lateral_views to it"
        )
    table = pd.read_csv(manifest)
    laterals = read_image_table(lateral_views).image
    if unknown := sorted(set(laterals) - set(table.image)):
        raise InputError(f"{lateral_views}: image {unknown[0]!r} is not in the database")
    table["reason"] = np.where(table.image.isin(laterals), "lateral", "")
    unreadable = [
        image for image in progress(table.image, "reading") if not readable(folder / image)
    ]
    table.loc[table.image.isin(unreadable), "reason"] = "unreadable"
    table["split"] = "excluded"
    rng = np.random.default_rng(seed)
    for name, images in table[table.reason == ""].groupby("class", sort=True):
        try:
            table.loc[images.index, "split"] = split_class(
                len(images), test_per_class, validation_fraction, rng
            )
        except InputError as error:
            raise InputError(f"{manifest}: class {name}: {error}") from error
    table["patient_id"] = ""  # unknown for this database
    columns = ["image", "class", "split", "reason", "patient_id", "sha256"]
    write_table(out, table[columns])


def readable(path):
    try:
        read_grey(path)
    except UnreadableImage:
        return False
    return True


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="holds the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="image, class, sha256")
    arguments.add_argument(
        "--lateral-views", type=Path, help="CSV, column image; without it the step stops"
    )
    arguments.add_argument("--test-per-class", type=int, required=True, help="images")
    arguments.add_argument("--validation-fraction", type=float, required=True)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    with user_errors():
        split_covid19(**vars(arguments.parse_args()))
