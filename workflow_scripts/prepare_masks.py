"""Put COVID-19 test images beside the masks that somebody drew of them, resized as they are.

Masks are PNGs in a folder, by the names of the images: COVID-19/COVID-19 (1).png; black and one
other grey value, of the size of the stored image. Writes OUT.npz: pixels, uint8 (n, size, size), as
nets see them, and masks, bool; and OUT.csv with a row for each: image, class, group (of one
patient, or linked by duplicates). Test images without a mask are left out.
"""

import sys
from pathlib import Path

import numpy as np
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.image_sets import add_image_set, open_images
from cxr.data.images import to_square
from cxr.data.masks import save_masked
from cxr.evaluation.predictions import image_groups
from PIL import Image


def prepare_masks(images, masks, manifest, out):
    pixels, table = open_images(images)
    stored = read_image_table(manifest, ["width", "height"], unique=["image"]).set_index("image")
    paths = [(masks / image).with_suffix(".png") for image in table.image]
    places = [place for place, path in enumerate(paths) if path.exists()]
    if not places:
        raise InputError(
            f"{masks}: found a mask for none of {len(table)} test images, expected some such as "
            f"{paths[0]}"
        )
    print(f"{masks}: masks of {len(places)} of {len(table)} test images", file=sys.stderr)
    size = pixels.shape[1]
    drawn = [
        read_mask(paths[place], tuple(stored.loc[table.image[place], ["width", "height"]]), size)
        for place in places
    ]
    table["group"] = image_groups(table)
    table = table.loc[places, ["image", "class", "group"]].reset_index(drop=True)
    save_masked(out, pixels[places], np.array(drawn), table)


def read_mask(path, stored, size):
    """A mask, bool (size, size): pixels that it covers at least half of.

    Raises InputError if it is no mask, or not of the stored size, (width, height).
    """
    grey = read_grey(path)
    values = np.unique(grey)
    if values[0] != 0 or len(values) > 2:
        raise InputError(
            f"{path}: found the grey values {values[:5].tolist()}, expected a mask: black, and one "
            "other value"
        )
    if grey.size != stored:
        raise InputError(
            f"{path}: found a mask of {grey.size[0]} x {grey.size[1]} pixels, expected the size of "
            f"its image, {stored[0]:g} x {stored[1]:g}; is it of another copy of the picture?"
        )
    white = Image.fromarray(255 * (np.asarray(grey) > 0).astype(np.uint8))
    return to_square(white, size) >= 128


if __name__ == "__main__":
    arguments = parser(__doc__)
    add_image_set(arguments, "--images", "test images, words covered")
    arguments.add_argument("--masks", type=Path, required=True, help="folder of masks")
    arguments.add_argument("--manifest", type=Path, required=True, help="sizes of stored images")
    add_image_set(arguments, "--out", "to write; the first is an .npz")
    with user_errors():
        prepare_masks(**vars(arguments.parse_args()))
