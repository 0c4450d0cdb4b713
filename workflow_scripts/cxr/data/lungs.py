"""Where lungs are in radiographs: masks that were drawn, what a net found, a rough ellipse.

X.npz and X.csv hold the lungs of images: masks, bool (n, size, size), and a row for each with the
image's name and where its lungs are from: a net with its Dice, masks, or the ellipse.
"""

import zipfile
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image

from cxr.cli import InputError
from cxr.contents import refuse_other
from cxr.data.decoding import read_grey
from cxr.data.folders import is_clutter
from cxr.data.image_sets import add_image_set, read_relevance
from cxr.data.images import to_square
from cxr.data.user_images import PICTURES
from cxr.files import atomic_write, write_table
from cxr.tables import read_table

WHITE_BORDER = 0.5  # share of a mask's border from which it counts as inverted
PLAUSIBLE = 0.08, 0.75  # least and most share of a frontal view's area that lungs cover
MOST_ON_ONE_SIDE = 0.97  # share of the lungs' area on one side of the image's middle
MASKS, ELLIPSE = "masks", "ellipse"


def ellipse(size):
    """Where the lungs of a frontal view are, roughly: bool (size, size).

    The ellipse around the middle whose half-axes are 0.38 of the width and 0.40 of the height. It
    holds heart and spine too, and is no segmentation.
    """
    y, x = (np.indices((size, size)) + 0.5) / size - 0.5
    return (x / 0.38) ** 2 + (y / 0.40) ** 2 <= 1


def implausible(mask):
    """Why a mask, bool (h, w), can't be of the lungs of a frontal view; empty where it may be."""
    area, (least, most) = mask.mean(), PLAUSIBLE
    if not least <= area <= most:
        return f"lungs cover {area:.0%} of the image, expected {least:.0%} to {most:.0%}"
    left, right = (half.sum() for half in np.array_split(mask, 2, axis=1))
    return "lungs on one side only" if max(left, right) > MOST_ON_ONE_SIDE * (left + right) else ""


def save_lungs(lungs, masks, table):
    """Write masks, bool (n, size, size), and a table of n rows. lungs: an ImageSet."""
    with atomic_write(lungs.array) as temporary:
        np.savez_compressed(temporary, masks=masks)
    write_table(lungs.table, table)


def add_lungs(arguments):
    """Add --lungs, which find_lungs writes, to an audit's arguments."""
    what = "of find_lungs; without it they are a central ellipse"
    add_image_set(arguments, "--lungs", what, required=False)


class Lungs:
    """The lungs of images, by name, as save_lungs wrote them; without a file the ellipse of all.

    Raises InputError for a file of anything else.
    """

    def __init__(self, lungs=None):
        self.path, self.masks = lungs, None
        if lungs:
            arrays = read_relevance(lungs.array)
            table = read_table(lungs.table, filled=["image", "lungs"], unique=["image"])
            if set(arrays) != {"masks"} or len(arrays["masks"]) != len(table):
                raise InputError(
                    f"{lungs}: found the arrays {sorted(arrays)} and {len(table)} rows, expected "
                    "masks with a row for each: what find_lungs writes"
                )
            self.masks = arrays["masks"].astype(bool)
            self.origin = table.lungs
            self.place = pd.Series(table.index, table.image)

    def of(self, images, size):
        """Where the lungs of images are, bool (n, size, size). images: their names, in order."""
        if self.masks is None:
            return np.broadcast_to(ellipse(size), (len(images), size, size))
        if missing := sorted(set(images) - set(self.place.index)):
            raise InputError(f"{self.path}: no lungs of image {missing[0]!r}")
        if self.masks.shape[1] != size:
            raise InputError(f"{self.path}: lungs at {self.masks.shape[1]} pixels, expected {size}")
        return self.masks[self.place[images]]

    def describe(self, images):
        """Where the lungs of images are from, in words."""
        if self.masks is None:
            return ELLIPSE
        counts = self.origin[self.place[images] if len(images) else slice(None)].value_counts()
        most, *others = counts.index
        return "; ".join([most, *(f"{name} in {counts[name]} of {len(images)}" for name in others)])


class Files:
    """Image files of a folder or a zip file, by their paths in it; those of masks' folders, too.

    Raises InputError for a file that is no whole zip file, and OSError.
    """

    def __init__(self, root):
        self.root, self.archive = Path(root), None
        if self.root.is_dir():
            paths = [path for path in self.root.rglob("*") if path.is_file()]
            self.all = sorted(path.relative_to(self.root).as_posix() for path in paths)
        else:
            refuse_other(root, "a folder, or a zip file, of images")
            try:
                self.archive = zipfile.ZipFile(root)
            except zipfile.BadZipFile as error:
                raise InputError(
                    f"{root}: found no whole zip file ({error}), expected a folder or a zip file"
                ) from error
            self.all = sorted(self.archive.namelist())
        self.images = [
            name
            for name in self.all
            if PurePosixPath(name).suffix.lower() in PICTURES and not is_clutter(name)
        ]

    def source(self, name):
        """What read_grey reads: a path, or the bytes of a member of the zip file."""
        return self.archive.read(name) if self.archive else self.root / name


class Match(NamedTuple):
    """A mask, and the image that it is of, as paths in their folders; or why there is none."""

    mask: str
    image: str = ""
    reason: str = ""


def match_names(images, masks):
    """A Match for each of masks, of paths of images and of masks.

    A mask belongs to the image of its file name, or else of its file name but for the suffix; of
    several to that in a folder of the same name.
    """
    by_name, by_stem = defaultdict(list), defaultdict(list)
    for image in images:
        path = PurePosixPath(image)
        by_name[path.name].append(image)
        by_stem[path.stem].append(image)
    for mask in masks:
        path = PurePosixPath(mask)
        found = by_name.get(path.name) or by_stem.get(path.stem, [])
        near = [name for name in found if PurePosixPath(name).parent.name == path.parent.name]
        if len(found) == 1 or len(near) == 1:
            yield Match(mask, (found if len(found) == 1 else near)[0])
        else:
            yield Match(mask, "", "several images of its name" if found else "no image of its name")


def read_pair(images, masks, match, size):
    """The image, uint8 (size, size), and its mask, bool alike, of a Match; images, masks: Files.

    Raises InputError where one can't be used, or their sizes differ: then the mask was drawn on
    another copy of the picture.
    """
    image, mask = read_grey(images.source(match.image)), read_grey(masks.source(match.mask))
    if image.size != mask.size:
        raise InputError("the mask differs from its image in size")
    return to_square(image, size), resized(lungs_in(mask), size)


def lungs_in(mask):
    """The lungs, bool (h, w), in a mask that somebody drew, a PIL image (mode L).

    They are what is brighter than half of its brightest grey value: masks of 0 and 1, of 0 and 255,
    and with darker marks beside the lungs are read alike. Raises InputError for one that is empty
    or inverted.
    """
    values = np.asarray(mask)
    if not values.any():
        raise InputError("the mask is empty")
    inside = values > values.max() / 2
    border = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if border.mean() > WHITE_BORDER:
        raise InputError("most of the mask's border is white, expected white lungs on black")
    return inside


def resized(mask, size):
    """A mask, bool (h, w), as bool (size, size): pixels that it covers at least half of."""
    white = Image.fromarray(255 * mask.astype(np.uint8))
    return to_square(white, size) >= 128
