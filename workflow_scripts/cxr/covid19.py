"""The COVID-19 Radiography Database and the lists that people write about its images."""

from cxr.tables import read_table

CLASSES = ("normal", "viral_pneumonia", "covid19")
BOX = ["x0", "y0", "x1", "y1"]  # columns: pixels of the stored image, end exclusive
_TEXT = ("class", "duplicate", "kind", "mode", "note", "patient_id", "phash", "pixels_sha256",
         "reason", "sha256", "split", "text", "url", "views")  # fmt: skip


def read_image_table(path, columns=(), **options):
    """Read a table with one row per image or box; its image column is named image or file.

    Images are paths below the database's folder, such as `NORMAL/NORMAL (1).png`. It may have no
    rows. Raises InputError as read_table does, which takes the options.
    """
    options = {"text": _TEXT, "empty": True} | options
    return read_table(
        path,
        columns,
        **options | {"filled": ("image", *options.get("filled", ())), "rename": _image},
    )


def _image(name):
    return "image" if name == "file" else name
