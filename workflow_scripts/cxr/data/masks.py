"""Images beside the masks of what is to be found in them: X.npz and X.csv, a row per pair."""

import sys

import numpy as np

from cxr.cli import InputError
from cxr.data.image_sets import read_relevance
from cxr.files import atomic_write, write_table
from cxr.tables import read_table


def save_masked(out, pixels, masks, table):
    """Write images, uint8 (n, size, size), their masks, bool alike, and a table of n rows.

    Pairs whose mask has no pixel at this size are left out, with a warning. out: an ImageSet.
    """
    drawn = masks.any(axis=(1, 2))
    for image in table.image[~drawn]:
        print(f"warning: {image}: its mask has no pixel at this size; left out", file=sys.stderr)
    with atomic_write(out.array) as temporary:
        np.savez_compressed(temporary, pixels=pixels[drawn], masks=masks[drawn])
    write_table(out.table, table[drawn])


def read_masked(images):
    """(pixels, masks, table) as save_masked wrote them. Raises InputError for anything else."""
    arrays, expected = read_relevance(images.array), "pixels and masks, both (n, size, size)"
    if set(arrays) != {"pixels", "masks"} or arrays["pixels"].shape != arrays["masks"].shape:
        raise InputError(f"{images.array}: found the arrays {sorted(arrays)}, expected {expected}")
    table = read_table(images.table, filled=["image", "group"], empty=True)
    if len(table) != len(arrays["pixels"]):
        raise InputError(
            f"{images.table}: {len(table)} rows, but {len(arrays['pixels'])} images in "
            f"{images.array}"
        )
    return arrays["pixels"], arrays["masks"].astype(bool), table
