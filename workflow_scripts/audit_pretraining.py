"""Audit: are images of the COVID-19 database in ChestX-ray14, which nets were pretrained on?

Compares perceptual hashes of all images, and the grey values of pairs whose hashes differ in few
bits, as find_duplicates does. Writes a row per pair.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import open_images, usable
from cxr.audits import plot_intervals, save_audit
from cxr.logs import parser, progress, user_errors
from cxr.similarity import correlate, perceptual_hashes
from PIL import Image


def audit_pretraining(chestxray14, covid19, hamming_distance, correlation, out):
    database = [open_images(path) for path in covid19]
    images = pd.concat([table[["image", "class"]] for _, table in database], ignore_index=True)
    pixels = np.concatenate([array for array, _ in database])
    hashes = perceptual_hashes(pixels)
    rows, n_compared = [], 0
    for path in progress(chestxray14, "archives"):
        array, table = open_images(path)
        places = np.flatnonzero(usable(table))
        others = perceptual_hashes(array[places])
        n_compared += len(others)
        for number, one in enumerate(hashes):
            distance = np.bitwise_count(others ^ one)
            for place in np.flatnonzero(distance <= hamming_distance):
                pair = (pixels[number], array[places[place]])
                found = correlate(*(Image.fromarray(square) for square in pair))
                if found >= correlation:
                    other = table.image[places[place]]
                    rows.append((*images.loc[number], other, int(distance[place]), round(found, 4)))
    columns = ["image", "class", "chestxray14_image", "hamming_distance", "correlation"]
    pairs = pd.DataFrame(rows, columns=columns)
    n = pairs.image.nunique()
    result = (
        f"{n} of {len(images)} images of the COVID-19 database look like one of {n_compared} "
        "images of ChestX-ray14"
    )
    save_audit(out, pairs, result, "report" if n else "pass")
    counts = images.assign(found=images.image.isin(pairs.image)).groupby("class").found.sum()
    plot_intervals(
        out.with_suffix(".svg"), counts.index, counts, 0 * counts, counts,
        "images that are in ChestX-ray14, too",
    )  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--chestxray14", type=Path, nargs="+", required=True, help="its arrays")
    arguments.add_argument("--covid19", type=Path, nargs="+", required=True, help="its arrays")
    arguments.add_argument("--hamming-distance", type=int, required=True, help="bits, at most")
    arguments.add_argument("--correlation", type=float, required=True, help="at least")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        audit_pretraining(**vars(arguments.parse_args()))
