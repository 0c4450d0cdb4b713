"""Split the COVID-19 images into train, val and test, with a fixed number of test images per class.

Excluded, with the reason: images in the list of lateral views, and images that can't be read.
--split-by says what stays in one split: image (nothing, as in the paper), patient (images of a
patient; each image of an unknown patient is by itself), or duplicate_group (duplicates, and images
of a patient). In every case the column `group` says which images are of one patient or duplicates:
they are not independent, and intervals of scores need to know.
"""

from pathlib import Path

import numpy as np
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.splits import duplicate_groups, split_groups
from cxr.files import write_table


def split_covid19(
    manifest,
    lateral_views,
    metadata,
    duplicates,
    split_by,
    test_per_class,
    validation_fraction,
    seed,
    out,
):
    table = read_image_table(
        manifest, ["reason", "sha256"], choices={"class": CLASSES}, unique=["image"], empty=False
    )
    laterals = read_image_table(lateral_views).image
    if unknown := sorted(set(laterals) - set(table.image)):
        raise InputError(f"{lateral_views}: image {unknown[0]!r} is not in the database")
    patients = read_image_table(metadata, columns=["patient_id"], unique=["image"])
    patients = patients.set_index("image").patient_id
    table["patient_id"] = table.image.map(patients).fillna("")
    table["reason"] = np.select(
        [table.reason != "", table.image.isin(laterals)], ["unreadable", "lateral"], ""
    )
    table["split"] = "excluded"
    used = table[table.reason == ""]
    pairs = read_image_table(duplicates, columns=["duplicate"])
    table["group"] = duplicate_groups(table, pairs)
    groups = {
        "image": used.image,
        "patient": used.patient_id.where(used.patient_id != "", used.image),
        "duplicate_group": duplicate_groups(used, pairs),
    }[split_by]
    table.loc[used.index, "split"] = split_groups(
        used["class"], groups, test_per_class, validation_fraction, seed
    )
    columns = ["image", "class", "split", "reason", "patient_id", "group", "sha256"]
    write_table(out, table[columns])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument(
        "--lateral-views", type=Path, required=True, help="CSV with the column image"
    )
    arguments.add_argument(
        "--metadata", type=Path, required=True, help="CSV with image, patient_id"
    )
    arguments.add_argument(
        "--duplicates", type=Path, required=True, help="CSV with image, duplicate"
    )
    arguments.add_argument(
        "--split-by", choices=("image", "patient", "duplicate_group"), default="image"
    )
    arguments.add_argument("--test-per-class", type=int, required=True, help="images per class")
    arguments.add_argument("--validation-fraction", type=float, required=True)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True)
    with user_errors():
        split_covid19(**vars(arguments.parse_args()))
