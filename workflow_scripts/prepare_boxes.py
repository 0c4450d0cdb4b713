"""Put ChestX-ray14's test images that NIH drew boxes on beside masks of these boxes.

Writes OUT.npz: pixels, uint8 (n, size, size), as nets see them, and masks, bool, of all boxes of
one finding; and OUT.csv with a row for each: image, finding, group (the patient). An image with
boxes of two findings has two rows. Boxed images of the other splits are left out.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.chestxray14 import FINDINGS, read_boxes
from cxr.data.image_sets import add_image_set, open_by_split
from cxr.data.masks import save_masked
from cxr.tables import read_table


def prepare_boxes(boxes, images, tables, split, out):
    listed = read_boxes(boxes)
    patients = read_table(split, filled=["image", "patient_id"], unique=["image"])
    patients = patients.set_index("image").patient_id
    if not listed.image.isin(patients.index).any():
        raise InputError(
            f"{boxes}: none of its {len(listed)} boxes is of an image of {split}, expected some; "
            "take the boxes of these images, or `boxes: []` under sources"
        )
    test = open_by_split(images, split, "test", [], tables)
    place = pd.Series(np.arange(len(test)), index=test.images)
    listed = listed[listed.image.isin(place.index)]
    by_pair = {
        (FINDINGS.index(finding), image): rows.iloc[:, 2:].to_numpy()
        for (finding, image), rows in listed.groupby(["finding", "image"])
    }
    pairs = [(image, FINDINGS[number], patients[image]) for number, image in sorted(by_pair)]
    table = pd.DataFrame(pairs, columns=["image", "finding", "group"])
    pixels = test.pixels(place[table.image].to_numpy())
    masks = [mask_of(by_pair[pair], test.shape[0]) for pair in sorted(by_pair)]
    save_masked(out, pixels, np.reshape(masks, pixels.shape), table)


def mask_of(boxes, size):
    """Pixels whose centres are in a box, bool (size, size). boxes: x0, y0, x1, y1 as shares."""
    centres = (np.arange(size) + 0.5) / size
    x0, y0, x1, y1 = boxes.T[..., None]
    across, down = (x0 <= centres) & (centres < x1), (y0 <= centres) & (centres < y1)
    return (down[:, :, None] & across[:, None, :]).any(axis=0)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--boxes", type=Path, required=True, help="BBox_List_2017.csv")
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--tables", type=Path, nargs="+", required=True, help="their CSVs")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    add_image_set(arguments, "--out", "to write; the first is an .npz")
    with user_errors():
        prepare_boxes(**vars(arguments.parse_args()))
