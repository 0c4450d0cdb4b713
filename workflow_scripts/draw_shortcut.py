"""Draw phantoms on which a word tells the class: a shortcut, planted as a dose.

In --dose percent of the images the word tells the class: COVID-19 images carry it, others do not.
In the rest it is as frequent in all classes, on every second image. So of n images of a class
round(n (1 + dose / 100) / 2) carry it if they are of COVID-19, else round(n (1 - dose / 100) / 2):
half of each class at 0, where it tells nothing, and exactly the COVID-19 images at 100. This holds
for all splits, as in a study whose test images come from the same source. A phantom is the same at
every dose, and one that carries the word at a dose does so at all larger ones (COVID-19) or smaller
ones (other classes).

Writes the image sets --train, --val and --test-unedited, whose tables have a column word (0, 1);
--test-edited, the test images without a word; --text-boxes, where the words of test images are; and
--manifest, with each image's columns as inspect_covid19 has them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.covid19 import BOX, CLASSES
from cxr.data.image_sets import add_image_set, save_images
from cxr.data.images import draw_word, word_box
from cxr.data.phantoms import COVID19, MARKS, draw_frontal
from cxr.files import write_table
from draw_phantoms import png
from PIL import Image

TOLD = "covid19"  # the class whose images have the word
MARK = {"viral_pneumonia": MARKS["Pneumonia"], "covid19": COVID19}


def draw_shortcut(
    dose, per_class, image_size, mark_strength, place, seed, sets, test_edited, manifest, text_boxes
):
    """per_class, sets: of train, val and test, the images per class and the image set to write.

    place: word, position, height, as draw_word takes them. mark_strength: as a share of the usual.
    """
    files = []
    for number, (split, images) in enumerate(sets.items()):
        rows = list(
            draw_split(split, per_class[split], dose, image_size, mark_strength, [seed, number])
        )
        table = pd.DataFrame(rows, columns=["image", "class", "word", "clear"])
        clear = table.pop("clear")
        drawn = [
            draw_word(grey, *place) if word else grey
            for grey, word in zip(clear, table.word, strict=True)
        ]
        save_images(images, np.stack(drawn), table)
        stored = {"bytes": [len(png(grey)) for grey in drawn], "tint": 0.0, "mode": "L"}
        files.append(table.assign(width=image_size, height=image_size, **stored))
    save_images(test_edited, np.stack(clear), table.assign(word=0))
    write_table(manifest, pd.concat(files))
    boxes = table.loc[table.word == 1, ["image"]]
    boxes[BOX] = word_box(image_size, *place)
    write_table(text_boxes, boxes.assign(text=place[0], origin="hand"))


def draw_split(split, n, dose, size, mark_strength, seed):
    """n phantoms of each class: image, class, whether it gets the word (0, 1), grey PIL image."""
    for number, name in enumerate(CLASSES):
        rng = np.random.default_rng([*seed, number])
        share = (1 + dose / 100) / 2 if name == TOLD else (1 - dose / 100) / 2
        words = rng.permutation(n) < round(share * n)
        mark = MARK.get(name)
        marks = [mark._replace(strength=mark.strength * mark_strength)] if mark else []
        for place, word in enumerate(words, start=1):
            clear = Image.fromarray(draw_frontal(marks, size, rng))
            yield f"{split}/{name}_{place}.png", name, int(word), clear


def add_word(arguments):
    """Add the options that say which word is drawn, and where."""
    arguments.add_argument("--word", required=True)
    arguments.add_argument(
        "--word-position", type=float, nargs=2, required=True, help="left, top: shares of the image"
    )
    arguments.add_argument("--word-height", type=float, required=True, help="share of the image's")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--dose", type=float, required=True, help="percent, 0 to 100")
    arguments.add_argument(
        "--per-class", type=pair(int), nargs=3, required=True, metavar="SPLIT=N",
        help="images of each class in train, val and test",
    )  # fmt: skip
    arguments.add_argument("--image-size", type=int, required=True, help="pixels")
    arguments.add_argument(
        "--mark-strength",
        type=float,
        required=True,
        help="of disease, as a share of draw_phantoms'",
    )
    add_word(arguments)
    arguments.add_argument("--seed", type=int, required=True)
    for name in ("train", "val", "test-unedited", "test-edited"):
        add_image_set(arguments, f"--{name}", "images to write")
    for name in ("manifest", "text-boxes"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    given = arguments.parse_args()
    with user_errors():
        draw_shortcut(
            given.dose, dict(given.per_class), given.image_size, given.mark_strength,
            (given.word, given.word_position, given.word_height), given.seed,
            {"train": given.train, "val": given.val, "test": given.test_unedited},
            given.test_edited, given.manifest, given.text_boxes,
        )  # fmt: skip
