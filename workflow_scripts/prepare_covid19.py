"""Read the COVID-19 images into arrays of grey images, one per split.

Test images have two versions: unedited, and edited, in which black rectangles cover
words and letters. Rectangles are drawn at the stored size, before resizing.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import read_grey
from cxr.data.image_sets import ImageSet, add_image_set, save_images
from cxr.data.images import cover, to_square
from cxr.files import write_table


def prepare_covid19(
    folder, split, size, train, val, test_unedited, test_edited, text_boxes, out_boxes
):
    images = read_image_table(split, ["class", "split"], unique=["image"], empty=False)
    boxes = read_boxes(text_boxes, set(images.image)) if text_boxes else no_boxes()
    sets = {
        train: images[images.split == "train"],
        val: images[images.split == "val"],
        test_unedited: images[images.split == "test"],
        test_edited: images[images.split == "test"],
    }
    for out, rows in sets.items():
        pixels = []
        for image in progress(rows.image, ImageSet.of(out).array.stem):
            grey = read_grey(folder / image)
            if out == test_edited:
                corners = boxes.loc[boxes.image == image, BOX].to_numpy()
                check_inside(text_boxes, image, grey.size, corners)
                grey = cover(grey, corners)
            pixels.append(to_square(grey, size))
        columns = [name for name in ("image", "class", "group") if name in rows]
        save_images(out, np.stack(pixels), rows[columns])
    write_table(out_boxes, boxes)


def read_boxes(path, images):
    """Boxes of words and letters: image, x0, y0, x1, y1, text, origin.

    Boxes without an origin are by hand. Raises InputError if one is no box or of no image.
    """
    boxes = read_image_table(path, ["text"], numbers=BOX)
    if unknown := sorted(set(boxes.image) - images):
        raise InputError(f"{path}: image {unknown[0]!r} is not in the database")
    if len(boxes) and not all(pd.api.types.is_integer_dtype(boxes[side]) for side in BOX):
        raise InputError(f"{path}: {', '.join(BOX)} must be whole numbers of pixels")
    if (bad := (boxes.x0 >= boxes.x1) | (boxes.y0 >= boxes.y1)).any():
        row = boxes[bad].iloc[0]
        raise InputError(f"{path}: empty box {row[BOX].tolist()} of image {row.image!r}")
    if (bad := (boxes.x0 < 0) | (boxes.y0 < 0)).any():
        row = boxes[bad].iloc[0]
        raise InputError(f"{path}: box {row[BOX].tolist()} of image {row.image!r} starts below 0")
    if "origin" not in boxes:
        boxes["origin"] = "hand"
    return boxes[["image", *BOX, "text", "origin"]]


def check_inside(path, image, size, corners):
    """Raise InputError if a box (x0, y0, x1, y1) leads outside an image of (width, height)."""
    if (bad := (corners[:, 2:] > size).any(axis=1)).any():
        raise InputError(
            f"{path}: found the box {corners[bad][0].tolist()} of image {image!r}, which is "
            f"{size[0]} x {size[1]} pixels; expected boxes inside it, in pixels of the stored image"
        )


def no_boxes():
    return pd.DataFrame(columns=["image", *BOX, "text", "origin"])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--split", type=Path, required=True)
    arguments.add_argument("--size", type=int, required=True, help="pixels, width and height")
    arguments.add_argument("--text-boxes", type=Path, help="CSV; without it nothing is covered")
    for name in ("train", "val", "test-unedited", "test-edited"):
        add_image_set(arguments, f"--{name}", "images to write")
    arguments.add_argument("--out-boxes", type=Path, required=True, help="CSV to write")
    with user_errors():
        prepare_covid19(**vars(arguments.parse_args()))
