"""Image sets: X.npy, uint8 (n, size, size), and X.csv, a row per image in the same order.

A row's `reason`, where the table has that column, says why its image can't be used; its pixels
are 0 then, and no split takes it.
"""

import argparse
import sys
import tokenize
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cxr.cli import InputError
from cxr.contents import refuse_other
from cxr.files import atomic_write, write_table
from cxr.tables import read_table


class ImageSet(NamedTuple):
    """Paths of an image set."""

    array: Path
    table: Path

    @classmethod
    def of(cls, images):
        """Itself; of a single path, the array there and the table beside it."""
        return images if isinstance(images, cls) else cls(images, Path(images).with_suffix(".csv"))

    def __str__(self):
        return str(self.array)


class _Pair(argparse.Action):
    def __call__(self, parser, namespace, values, option=None):
        setattr(namespace, self.dest, ImageSet(*values))


def add_image_set(arguments, name, what, required=True):
    """Add an option that takes an array and its table; its value is an ImageSet."""
    arguments.add_argument(
        name, type=Path, nargs=2, action=_Pair, required=required, metavar=("NPY", "CSV"), help=what
    )


def save_images(images, pixels, table):
    """Write an image set: pixels uint8 (n, size, size) and a table with n rows."""
    if len(pixels) != len(table):
        raise ValueError(f"{images}: {len(pixels)} images but {len(table)} rows")
    images = ImageSet.of(images)
    with atomic_write(images.array) as temporary:
        np.save(temporary, pixels)
    write_table(images.table, table)


@contextmanager
def image_writer(path, size):
    """A function that appends one uint8 (size, size) to the array at path, for any number of them.

    The file appears when the block ends well, with the bytes that numpy.save gives.
    """
    n = 0

    def write_header():
        shape = {"descr": "|u1", "fortran_order": False, "shape": (n, size, size)}
        np.lib.format.write_array_header_1_0(file, shape)  # as long for every n

    def append(pixels):
        nonlocal n
        file.write(np.ascontiguousarray(pixels, dtype=np.uint8).data)
        n += 1

    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        write_header()
        yield append
        file.seek(0)
        write_header()


# What NumPy raises for files that are damaged, or no arrays.
DAMAGE = (
    ValueError, TypeError, EOFError, OverflowError, MemoryError, SyntaxError, RuntimeError,
    tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


@contextmanager
def _as_array(path, expected):
    """DAMAGE becomes an InputError that says what the file is."""
    try:
        yield
    except (*DAMAGE, OSError) as error:
        if isinstance(error, OSError) and error.filename:
            raise  # it can't be opened
        refuse_other(path, expected)
        raise InputError(
            f"{path}: found no array ({error}), expected {expected}; remove it, so that it is "
            "made again"
        ) from error


def read_relevance(path):
    """Relevance maps of an .npz file: {name: array}. Raises InputError if it is none or damaged."""
    with _as_array(path, "arrays of relevance (.npz)"), np.load(path) as file:
        return {name: file[name] for name in file.files}


def open_images(images):
    """Open an image set: (memory-mapped uint8 (n, size, size), table).

    images: an ImageSet, or the path of an array with the table beside it. Raises InputError if they
    differ in length, or the array is damaged, or none of such images.
    """
    path, table = ImageSet.of(images)
    with _as_array(path, expected := "images, uint8 (n, size, size) (.npy)"):
        pixels = np.load(path, mmap_mode="r")
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.ndim != 3:
        found = getattr(pixels, "dtype", "an archive"), getattr(pixels, "shape", "")
        raise InputError(f"{path}: found {found[0]} {found[1]}, expected {expected}")
    rows = read_table(table, filled=["image"], text=["class", "reason"], empty=True)
    if len(pixels) != len(rows):
        raise InputError(f"{path}: {len(pixels)} images, but {len(rows)} rows in its CSV")
    return pixels, rows


def open_all(paths, tables):
    """Yield open_images of each path with its table; InputError if their numbers differ."""
    if len(paths) != len(tables):
        raise InputError(f"{len(paths)} arrays, but {len(tables)} tables; expected one each")
    for path, table in zip(paths, tables, strict=True):
        yield open_images(ImageSet(path, table))


class LabelledImages:
    """Images of one split with a 0/1 vector each; images may lie in several arrays.

    outputs: names of the labels, in order. labels: float32 (n, len(outputs)).
    """

    def __init__(self, arrays, array_of, row_of, labels, outputs, images):
        self.arrays, self.array_of, self.row_of = arrays, array_of, row_of
        self.labels = np.ascontiguousarray(labels)  # as it is hashed
        self.outputs, self.images = outputs, images

    def __len__(self):
        return len(self.labels)

    @property
    def shape(self):
        """Height and width."""
        return self.arrays[0].shape[1:]

    def content(self):
        """Arrays, and paths of files, that these images consist of, to be hashed.

        A mapped array is named by its file: pages that are read through a map count as memory.
        """
        names = "\n".join([*self.outputs, *self.images]).encode()
        files = [getattr(array, "filename", None) for array in self.arrays]
        pixels = [
            Path(file) if file else array for file, array in zip(files, self.arrays, strict=True)
        ]
        return [names, self.labels, self.array_of, self.row_of, *pixels]

    def pixels(self, indices):
        """uint8 (len(indices), size, size)."""
        indices = np.asarray(indices)
        batch = np.empty((len(indices), *self.shape), dtype=np.uint8)
        for number, array in enumerate(self.arrays):
            chosen = self.array_of[indices] == number
            batch[chosen] = array[self.row_of[indices][chosen]]
        return batch

    def chosen(self, places):
        """The images at these places, in their order; places: int (m,)."""
        return LabelledImages(
            self.arrays, self.array_of[places], self.row_of[places], self.labels[places],
            self.outputs, self.images.iloc[places],
        )  # fmt: skip

    def with_pixels(self, pixels):
        """The same images, edited: pixels, uint8 (n, size, size), in their order."""
        n = len(self)
        return LabelledImages(
            [pixels], np.zeros(n, int), np.arange(n), self.labels, self.outputs, self.images
        )


def open_by_class(images, classes):
    """An image set whose table has a column `class`, labelled one-hot in the order of classes."""
    pixels, table = open_images(images)
    if unknown := sorted(set(table["class"]) - set(classes)):
        raise InputError(f"{images}: class {unknown[0]!r}; expected one of {list(classes)}")
    labels = (table["class"].to_numpy()[:, None] == np.array(classes)).astype(np.float32)
    n = len(table)
    return LabelledImages(
        [pixels], np.zeros(n, int), np.arange(n), labels, list(classes), table.image
    )


def usable(table):
    """Whether each image of a table can be used, bool (n,)."""
    return (table.reason == "").to_numpy() if "reason" in table else np.ones(len(table), bool)


def open_by_split(paths, split_table, split, outputs, tables=None):
    """The images of one split of a table (image, split, a 0/1 column per label), from many arrays.

    tables: the arrays' CSVs; by default those beside them. Images that can't be used are left out,
    with a warning. Raises InputError if an image of the table is in no array, in two, or the split
    is empty.
    """
    opened = list(open_all(paths, tables or [ImageSet.of(path).table for path in paths]))
    place = pd.concat(
        table[["image"]].assign(array=number, row=np.arange(len(table)), usable=usable(table))
        for number, (_, table) in enumerate(opened)
    ).set_index("image")
    if place.index.has_duplicates:
        image = place.index[place.index.duplicated()][0]
        raise InputError(f"image {image} occurs twice in {', '.join(str(path) for path in paths)}")
    table = read_table(split_table, filled=["image", "split"], numbers=outputs, text=["patient_id"])
    if missing := sorted(set(table.image) - set(place.index)):
        raise InputError(
            f"{split_table}: {len(missing)} images are in no archive, first: {missing[0]}; "
            "is an archive missing from sources.chestxray14?"
        )
    chosen = table[table.split == split]
    chosen = chosen[place.usable[chosen.image].to_numpy()]
    if left_out := int((table.split == split).sum()) - len(chosen):
        print(
            f"warning: {left_out} {split} images can't be used; their CSVs say why", file=sys.stderr
        )
    if chosen.empty:
        raise InputError(f"{split_table}: the {split} split is empty")
    place = place.loc[chosen.image]
    return LabelledImages(
        [pixels for pixels, _ in opened],
        place.array.to_numpy(),
        place.row.to_numpy(),
        chosen[list(outputs)].to_numpy(np.float32),
        list(outputs),
        chosen.image,
    )
