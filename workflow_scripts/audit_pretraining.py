"""Audit: are images of the COVID-19 database in ChestX-ray14, which nets were pretrained on?

Compares perceptual hashes of all images, and the grey values of pairs whose hashes differ in few
bits, as find_duplicates does. Writes a row per pair that looks alike, some of them by chance;
same_picture is true where grey values correlate by at least --same-picture, which rules chance out.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.duplicates import correlate, perceptual_hashes
from cxr.data.image_sets import open_all, usable
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from PIL import Image

COLUMNS = ["image", "class", "chestxray14_image", "hamming_distance", "correlation", "same_picture"]


def audit_pretraining(
    chestxray14, chestxray14_tables, covid19, covid19_tables, hamming_distance, correlation,
    same_picture, out,
):  # fmt: skip
    database = list(open_all(covid19, covid19_tables))
    images = pd.concat([table[["image", "class"]] for _, table in database], ignore_index=True)
    pixels = np.concatenate([array for array, _ in database])
    hashes = perceptual_hashes(pixels)
    rows, n_compared = [], 0
    archives = open_all(chestxray14, chestxray14_tables)
    for array, table in progress(archives, "archives", total=len(chestxray14)):
        places = np.flatnonzero(usable(table))
        n_compared += len(places)
        others = perceptual_hashes(array[places])
        for number, one in enumerate(hashes):
            distance = np.bitwise_count(others ^ one)
            for place in np.flatnonzero(distance <= hamming_distance):
                pair = (pixels[number], array[places[place]])
                found = correlate(*(Image.fromarray(square) for square in pair))
                if found >= correlation:
                    row = (table.image[places[place]], int(distance[place]), round(found, 4))
                    rows.append((*images.loc[number], *row, found >= same_picture))
    pairs = pd.DataFrame(rows, columns=COLUMNS)
    images["same"] = images.image.isin(pairs.image[pairs.same_picture.astype(bool)])
    save_audit(out, pairs, *describe(images, pairs, n_compared, correlation, same_picture))
    counts = images.groupby("class").same.sum()
    plot_intervals(
        out.figure, counts.index, counts, 0 * counts, counts,
        "images that are in ChestX-ray14, too",
    )  # fmt: skip


def describe(images, pairs, n_compared, correlation, same_picture):
    """Result and gate."""
    if images.empty or not n_compared:
        result = (
            f"{len(images)} images of the COVID-19 database and {n_compared} of ChestX-ray14 can "
            "be used, so that whether one is in both can't be said"
        )
        return result, "report"
    n_same, n_alike = int(images.same.sum()), pairs.image.nunique()
    result = (
        f"{n_same} of {len(images)} images of the COVID-19 database are the same picture as one of "
        f"{n_compared} images of ChestX-ray14 (correlation {same_picture} or more); "
        f"{n_alike - n_same} others look like one ({correlation} or more), which may be chance"
    )
    return result, "report" if n_alike else "pass"


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name in ("chestxray14", "covid19"):
        arguments.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="its arrays")
        arguments.add_argument(
            f"--{name}-tables", type=Path, nargs="+", required=True, help="their CSVs"
        )
    arguments.add_argument("--hamming-distance", type=int, required=True, help="bits, at most")
    arguments.add_argument("--correlation", type=float, required=True, help="at least: alike")
    arguments.add_argument("--same-picture", type=float, required=True, help="at least: the same")
    add_outputs(arguments)
    with user_errors():
        audit_pretraining(**vars(arguments.parse_args()))
