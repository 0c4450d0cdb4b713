"""Read external sets as COVID-19 test images are read, with words covered; leave copies out.

Words are found by OCR in the sets of --words-in, are those of a CSV in the sets of --text-boxes,
and stay in other sets. Left out, and listed, are images that can't be read, and those that are the
same picture, edited or not, as an image of --known: nets have learnt from these, or were tested on
them. Images of a patient, and same pictures in a set, are one group, by which intervals count.

Writes for each set IMAGES (uint8, n x size x size) with TABLE (image, class, group); LEFT_OUT
(image, class, reason), which has what list_external left out, too; and BOXES, the words covered.
Fails where the share of images that can't be read exceeds --max-unreadable.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, add_threads, pair, parser, progress, user_errors
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import check_unreadable, read_grey
from cxr.data.duplicates import add_settings, describe_all, find_copies
from cxr.data.image_sets import ImageSet, open_all, save_images, usable
from cxr.data.images import cover, to_square
from cxr.data.ocr import Word, load_reader, read_words
from cxr.data.pixels import reason_of
from cxr.data.splits import duplicate_groups
from cxr.files import write_table
from prepare_covid19 import check_inside, no_boxes, read_boxes


def prepare_external(
    folders, manifests, size, max_unreadable, known, known_tables, candidates, correlation,
    words_in, text_boxes, threads, images, tables, left_out, boxes,
):  # fmt: skip
    names, pixels = open_known(known, known_tables)
    described = describe_all(pixels)
    reader = load_reader(threads) if words_in else None
    for name, folder in folders.items():
        text = ["class", "path", "patient_id", "reason"]
        listed = read_image_table(manifests[name], text, text=text)
        rows = listed[listed.reason == ""].reset_index(drop=True)
        given, found_by = text_boxes.get(name), reader if name in words_in else None
        covered = read_boxes(given, set(rows.image)) if given else no_boxes()
        read, covered = read_images(folder, rows, size, covered, given, found_by)
        rows["reason"] = [reason for reason, *_ in read]
        check_unreadable(manifests[name], rows, max_unreadable)
        readable = np.flatnonzero(rows.reason == "")
        unedited = [read[place][1] for place in readable]
        for copy in find_copies(
            unedited, pixels, candidates=candidates, least=correlation, described=described
        ):
            reason = f"copy of {names[copy.second]} ({copy.change}; {copy.correlation:.2f})"
            rows.loc[readable[copy.first], "reason"] = reason
        used = rows[rows.reason == ""]
        if used.empty:
            first = f"{rows.image[0]}: {rows.reason[0]}"
            raise InputError(f"{manifests[name]}: none of {len(rows)} images is left; {first}")
        used = used.assign(group=groups_of(used, read, candidates, correlation))
        edited = np.stack([read[place][2] for place in used.index])
        save_images(ImageSet(images[name], tables[name]), edited, used[["image", "class", "group"]])
        rest = pd.concat([listed[listed.reason != ""], rows[rows.reason != ""]])
        write_table(left_out[name], rest[["image", "class", "reason"]])
        write_table(boxes[name], covered[covered.image.isin(used.image)])


def open_known(arrays, tables):
    """Names and pixels, uint8 (size, size), of all images of arrays that can be used."""
    names, pixels = [], []
    for path, (array, table) in zip(tables, open_all(arrays, tables), strict=True):
        places = np.flatnonzero(usable(table))
        pixels += [np.asarray(array[place]) for place in places]  # still in the file
        names += [f"{image} of {path}" for image in table.image[places]]
    return names, pixels


def read_images(folder, rows, size, boxes, origin, reader):
    """[(reason, unedited, edited)] of each row's image, uint8 (size, size); and the boxes covered.

    boxes: those of a table at origin; with a reader, the words that it finds instead.
    """
    read, found = [], []
    for image, path in progress(zip(rows.image, rows.path, strict=True), "images", len(rows)):
        try:
            grey = read_grey(folder / path)
        except Exception as error:  # nothing about one image may cost the others their rows
            read.append((reason_of(error), None, None))
            continue
        if reader:
            corners = boxes_of(image, read_words(grey, reader))
            found.append(corners)
        else:
            corners = boxes[boxes.image == image]
            check_inside(origin, image, grey.size, corners[BOX].to_numpy())
        edited = cover(grey, corners[BOX].to_numpy())
        read.append(("", to_square(grey, size), to_square(edited, size)))
    return read, pd.concat(found) if found else boxes


def boxes_of(image, words):
    """Rows of boxes, as no_boxes has them, of the words in an image."""
    rows = pd.DataFrame([(image, *word) for word in words], columns=["image", *Word._fields])
    return rows.assign(origin="ocr")


def groups_of(used, read, candidates, correlation):
    """Number of the group of each image: of one patient, or the same picture, edited or not."""
    pictures = [read[place][1] for place in used.index]
    copies = find_copies(pictures, candidates=candidates, least=correlation)
    names = used.image.to_numpy()
    pairs = pd.DataFrame(
        [(names[copy.first], names[copy.second]) for copy in copies],
        columns=["image", "duplicate"],
    )
    classes = used.set_index("image")["class"]
    odd = pairs[classes[pairs.image].to_numpy() != classes[pairs.duplicate].to_numpy()]
    for pair_of in odd.itertuples():
        print(f"warning: {pair_of.image} and {pair_of.duplicate} look the same, not their classes")
    return duplicate_groups(used.reset_index(drop=True), pairs)


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name, what in (("folders", "FOLDER"), ("manifests", "CSV"), ("text-boxes", "CSV")):
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="*" if name == "text-boxes" else "+",
            required=name != "text-boxes", default=[],
            metavar=f"SET={what}",
        )  # fmt: skip
    arguments.add_argument("--words-in", nargs="*", default=[], metavar="SET", help="read by OCR")
    arguments.add_argument("--known", type=Path, nargs="+", required=True, help="arrays")
    arguments.add_argument("--known-tables", type=Path, nargs="+", required=True, help="their CSVs")
    add_settings(arguments, unsure=False)
    arguments.add_argument("--size", type=int, required=True, help="pixels, width and height")
    arguments.add_argument("--max-unreadable", type=float, required=True, metavar="SHARE")
    add_threads(arguments)
    outputs = ("images", "tables", "left-out", "boxes")
    for name in outputs:
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="+", required=True, metavar="SET=PATH",
            help="to write",
        )  # fmt: skip
    chosen = vars(arguments.parse_args())
    pairs = ("folders", "manifests", "text_boxes", "images", "tables", "left_out", "boxes")
    with user_errors():
        prepare_external(**chosen | {name: dict(chosen[name]) for name in pairs})
