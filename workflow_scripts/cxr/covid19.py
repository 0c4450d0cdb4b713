"""The COVID-19 Radiography Database and the lists that people write about its images."""

import pandas as pd

from cxr.logs import InputError

CLASSES = ("normal", "viral_pneumonia", "covid19")
BOX = ["x0", "y0", "x1", "y1"]  # columns: pixels of the stored image, end exclusive


def read_image_table(path, columns=()):
    """Read a CSV with one row per image or box; its image column is named image or file.

    Images are paths below the database's folder, such as `NORMAL/NORMAL (1).png`.
    Raises InputError if a column is missing.
    """
    table = pd.read_csv(path, keep_default_na=False, dtype={"text": str})
    table = table.rename(columns={"file": "image"})
    for column in ("image", *columns):
        if column not in table:
            raise InputError(f"{path}: no column {column!r}; found {list(table)}")
    return table
