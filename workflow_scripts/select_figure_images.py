"""Choose the images of figures 2 to 4, and add the word to a normal one.

COVID-19: the first test image with a covered box that holds the word; if there is none, the
first with any box, else the first. Normal: the first test image without a box. The choice does
not depend on predictions. Writes OUT.npy and OUT.csv: image, class, figure, version (edited,
unedited, word) and explain, the class whose relevance is computed.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import read_grey
from cxr.data.image_sets import add_image_set, save_images
from cxr.data.images import cover, draw_word, to_square


def select_figure_images(folder, split, text_boxes, size, word, position, height, out):
    images = read_image_table(split, ["class", "split"])
    images = images[images.split == "test"]
    boxes = read_image_table(text_boxes, [*BOX, "text"])
    covid19 = choose_covid19(images[images["class"] == "covid19"].image, boxes, word)
    normal = choose_normal(images[images["class"] == "normal"].image, boxes)
    unedited, clear = read_grey(folder / covid19), read_grey(folder / normal)
    edited = cover(unedited, boxes.loc[boxes.image == covid19, BOX].to_numpy())
    rows = [
        (covid19, "covid19", 2, "edited", "covid19", edited),
        (covid19, "covid19", 3, "unedited", "covid19", unedited),
        (normal, "normal", 4, "unedited", "normal", clear),
        (normal, "normal", 4, "word", "normal", draw_word(clear, word, position, height)),
    ]
    pixels = np.stack([to_square(row[-1], size) for row in rows])
    columns = ["image", "class", "figure", "version", "explain"]
    save_images(out, pixels, pd.DataFrame([row[:-1] for row in rows], columns=columns))


def choose_covid19(images, boxes, word):
    with_word = boxes[boxes.text.str.contains(word, case=False, regex=False)].image
    for wanted in (with_word, boxes.image, images):
        if (found := images[images.isin(wanted)]).size:
            return found.iloc[0]
    raise InputError("no COVID-19 test image to explain")


def choose_normal(images, boxes):
    clear = images[~images.isin(boxes.image)]
    return (clear if clear.size else images).iloc[0]


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--split", type=Path, required=True)
    arguments.add_argument("--text-boxes", type=Path, required=True)
    arguments.add_argument("--size", type=int, required=True, help="pixels, width and height")
    arguments.add_argument("--word", required=True)
    arguments.add_argument(
        "--position",
        type=float,
        nargs=2,
        required=True,
        help="left and top, as shares of the image",
    )
    arguments.add_argument(
        "--height", type=float, required=True, help="share of the image's height"
    )
    add_image_set(arguments, "--out", "images to write")
    with user_errors():
        select_figure_images(**vars(arguments.parse_args()))
