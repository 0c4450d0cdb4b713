"""Tables of predictions of test images."""

import numpy as np
import pandas as pd

from cxr.cli import InputError
from cxr.data.covid19 import CLASSES
from cxr.tables import read_table


def read_predictions(path):
    """Read predictions: image, class, predicted, a number per class; perhaps phase, version
    and group (of images that are not independent).

    Raises InputError if a column is missing, a class unknown, a value no number, or if an image is
    twice in a phase and version, or they have unequal numbers of images.
    """
    classes = {"class": CLASSES, "predicted": CLASSES}
    table = read_table(path, filled=["image"], numbers=CLASSES, choices=classes, text=["version"])
    if "group" in table and table.group.isna().any():
        raise InputError(f"{path}: found an image without a group, expected one for each, or none")
    if "phase" in table and not pd.api.types.is_integer_dtype(table.phase):
        raise InputError(f"{path}: found phases that are no whole numbers, expected 1, 2, ...")
    parts = [name for name in ("phase", "version") if name in table]
    if (twice := table.duplicated([*parts, "image"])).any():
        raise InputError(f"{path}: found {table.image[twice].iloc[0]!r} twice, expected it once")
    if parts and (n := table.groupby(parts).size()).nunique() > 1:
        raise InputError(
            f"{path}: found {n.min()} to {n.max()} images in a phase and version, expected equally "
            "many in each; is the file cut?"
        )
    return table


def final_predictions(table, version="edited", phase=None):
    """Rows of a phase, the last by default, and of one version of the test images.

    A table without the columns phase and version has one of each.
    """
    if "phase" in table:
        table = table[table.phase == (phase or table.phase.max())]
    if "version" in table:
        table = table[table.version == version]
    return table


def read_same_images(predictions, phase=None):
    """{net: edited test images by name, after a phase} of {net: path}; the last phase by default.

    Raises InputError if nets have predictions of other images, or none of the phase.
    """
    tables = {
        net: final_predictions(read_predictions(path), phase=phase).set_index("image")
        for net, path in predictions.items()
    }
    images = next(iter(tables.values())).index
    for net, path in predictions.items():
        if tables[net].empty:
            raise InputError(
                f"{path}: found no predictions of edited test images after phase "
                f"{phase or '(the last)'}, expected some"
            )
        if not tables[net].index.equals(images):
            raise InputError(f"{path}: the test images differ from the first net's")
    return tables


def correct(table):
    """1 for each prediction that is right, else 0, (n,)."""
    return (table["class"] == table.predicted).to_numpy(int)


def image_groups(table):
    """The group of each image, (n,); without a column `group` each has its own."""
    return table.group.to_numpy() if "group" in table else np.arange(len(table))
