"""The COVID-19 Radiography Database and the lists that people write about its images."""

from cxr.tables import is_missing, read_table

CLASSES = ("normal", "viral_pneumonia", "covid19")
INTERNAL = "internal"  # what the database's test images are called beside external sets
TABLES = "*.m?tadata.xlsx"  # the database's own, beside the class folders; one is called matadata
BOX = ["x0", "y0", "x1", "y1"]  # columns: pixels of the stored image, end exclusive
_TEXT = ("class", "duplicate", "kind", "mode", "note", "patient_id", "phash", "pixels_sha256",
         "reason", "sha256", "split", "text", "url", "views")  # fmt: skip


def read_image_table(path, columns=(), **options):
    """Read a table with one row per image or box; its image column is named image or file.

    Images are paths below the database's folder, such as `NORMAL/NORMAL (1).png`. It may have no
    rows. A patient_id that is one of tables.MISSING becomes empty: unknown, not one patient called
    NA. Raises InputError as read_table does, which takes the options.
    """
    options = {"text": _TEXT, "empty": True} | options
    table = read_table(path, columns, filled=["image"], rename=_image, **options)
    if "patient_id" in table:
        table["patient_id"] = table.patient_id.mask(is_missing(table.patient_id), "")
    return table


def _image(name):
    return "image" if name == "file" else name
