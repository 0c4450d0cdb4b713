"""Find words and letters in the COVID-19 test images by OCR.

Writes a row per box: image, x0, y0, x1, y1 (pixels of the stored image, end exclusive), text
(empty if not legible), origin (ocr).
"""

from pathlib import Path

import pandas as pd
from cxr.cli import add_threads, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.ocr import Word, load_reader, read_words
from cxr.files import write_table


def find_words(folder, split, out, threads):
    table = read_image_table(split, ["split"])
    images = sorted(table.image[table.split == "test"])
    reader = load_reader(threads)
    rows = [
        (image, *word)
        for image in progress(images, "images")
        for word in read_words(read_grey(folder / image), reader)
    ]
    boxes = pd.DataFrame(rows, columns=["image", *Word._fields])
    write_table(out, boxes.assign(origin="ocr"))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--split", type=Path, required=True, help="CSV of split_covid19")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        find_words(**vars(arguments.parse_args()))
