"""Show test images with words, before and after their boxes are covered.

Before, boxes are outlined. Shows the first --most test images of each class that have boxes,
in the order of the split.
"""

from pathlib import Path

import numpy as np
from cxr.cli import parser, user_errors
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import read_grey
from cxr.data.images import cover, to_square
from cxr.figures import contact_sheet
from PIL import Image, ImageDraw

SHOWN_SIZE, COLUMNS = 240, 8
OUTLINE = (230, 159, 0)


def plot_words(folder, split, text_boxes, most, out):
    table, boxes = read_image_table(split, ["split"]), read_image_table(text_boxes, BOX)
    table = table[(table.split == "test") & table.image.isin(boxes.image)]
    images, captions = [], []
    for image in table.groupby("class", sort=False).head(most).image:
        corners = boxes.loc[boxes.image == image, BOX].to_numpy()
        grey = read_grey(folder / image)
        images += [outline(grey, corners), to_square(cover(grey, corners), SHOWN_SIZE)]
        captions += [Path(image).stem, f"{len(corners)} covered"]
    contact_sheet(out, images, captions, COLUMNS)


def outline(image, boxes):
    """uint8 (s, s, 3): a grey PIL image as shown, boxes outlined."""
    shown = Image.fromarray(to_square(image, SHOWN_SIZE)).convert("RGB")
    scale = np.tile(SHOWN_SIZE / np.array(image.size), 2)
    for box in boxes:
        ImageDraw.Draw(shown).rectangle((box * scale).tolist(), outline=OUTLINE)
    return np.asarray(shown)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--split", type=Path, required=True, help="CSV of split_covid19")
    arguments.add_argument("--text-boxes", type=Path, required=True, help="CSV of prepare_covid19")
    arguments.add_argument("--most", type=int, default=8, help="images per class; default: 8")
    arguments.add_argument("--out", type=Path, required=True, help="JPEG to write")
    with user_errors():
        plot_words(**vars(arguments.parse_args()))
