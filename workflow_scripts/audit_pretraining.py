"""Audit: are images of the COVID-19 database in ChestX-ray14, which nets were pretrained on?

Compares images as find_duplicates does: edited copies are found, too, and change says how they were
edited. Writes a row per pair that looks alike, of which some only show one patient; same_picture is
true where the local contrast of both, registered, correlates by at least --correlation.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.duplicates import add_settings, find_copies, hash_distance
from cxr.data.image_sets import open_all, usable
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit

COLUMNS = [
    "image", "class", "chestxray14_image", "hamming_distance", "correlation",
    "same_picture", "change",
]  # fmt: skip


def audit_pretraining(
    chestxray14, chestxray14_tables, covid19, covid19_tables, candidates, correlation, unsure, out
):  # fmt: skip
    database = list(open_all(covid19, covid19_tables))
    images = pd.concat([table[["image", "class"]] for _, table in database], ignore_index=True)
    pixels = np.concatenate([array for array, _ in database])
    others, names = [], []
    for array, table in open_all(chestxray14, chestxray14_tables):
        places = np.flatnonzero(usable(table))
        others += [np.asarray(array[place]) for place in places]  # still in the file
        names += table.image[places].tolist()
    rows = []
    for pair in find_copies(pixels, others, candidates=candidates, least=unsure):
        distance = hash_distance(pixels[pair.first], others[pair.second])
        found = (distance, round(pair.correlation, 4), pair.correlation >= correlation, pair.change)
        rows.append((*images.loc[pair.first], names[pair.second], *found))
    pairs = pd.DataFrame(rows, columns=COLUMNS)
    images["same"] = images.image.isin(pairs.image[pairs.same_picture.astype(bool)])
    save_audit(out, pairs, *describe(images, pairs, len(others), correlation, unsure))
    counts = images.groupby("class").same.sum()
    plot_intervals(
        out.figure, counts.index, counts, 0 * counts, counts,
        "images that are in ChestX-ray14, too",
    )  # fmt: skip


def describe(images, pairs, n_compared, correlation, unsure):
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
        f"{n_compared} images of ChestX-ray14 (correlation {correlation} or more); "
        f"{n_alike - n_same} others look like one ({unsure} or more), perhaps of the same patient"
    )
    return result, "report" if n_alike else "pass"


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name in ("chestxray14", "covid19"):
        arguments.add_argument(f"--{name}", type=Path, nargs="+", required=True, help="its arrays")
        arguments.add_argument(
            f"--{name}-tables", type=Path, nargs="+", required=True, help="their CSVs"
        )
    add_settings(arguments)
    add_outputs(arguments)
    with user_errors():
        audit_pretraining(**vars(arguments.parse_args()))
