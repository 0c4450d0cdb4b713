"""Audit: how well is the class told by what has nothing to do with lungs?

Logistic regressions learn the class from the train and val images, and are tried on the unedited
test images, from: the file (its size, width, height, colour); the histogram of grey values outside
the lungs; a strip along the border; a thumbnail whose lungs are blacked out. Chance is one third.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import open_images
from cxr.audits import linear_model, lungs, plot_intervals, save_audit
from cxr.covid19 import CLASSES
from cxr.logs import parser, user_errors
from cxr.metrics import proportion_interval
from sklearn.metrics import balanced_accuracy_score

THUMBNAIL, STRIP = 16, 0.05  # pixels; share of the width


def audit_nuisance(manifest, train, val, test, seed, out):
    files = pd.read_csv(manifest, keep_default_na=False).set_index("image")
    learnt, tried = [features(files, *paths) for paths in ((train, val), (test,))]
    rows = []
    for name, values in learnt[0].items():
        guessed = linear_model(seed).fit(values, learnt[1]).predict(tried[0][name])
        right = int((guessed == tried[1]).sum())
        score = balanced_accuracy_score(tried[1], guessed)
        rows.append((name, score, *proportion_interval(right, len(guessed)), len(guessed)))
    columns = ["from", "balanced_accuracy", "accuracy_low", "accuracy_high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    best = table.loc[table.balanced_accuracy.idxmax()]
    result = (
        f"from the {best['from']} alone a linear model has {best.balanced_accuracy:.0%} of the "
        f"test images right (balanced; chance {1 / len(CLASSES):.0%})"
    )
    save_audit(out, table, result, "report")
    plot_intervals(
        out.with_suffix(".svg"), table["from"], table.balanced_accuracy, table.accuracy_low,
        table.accuracy_high, "balanced accuracy without the lungs", (1 / len(CLASSES), "chance"),
    )  # fmt: skip


def features(files, *paths):
    """{name: float (n, features)} of image sets, and the classes of their images."""
    opened = [open_images(path) for path in paths]
    pixels = np.concatenate([array for array, _ in opened])
    table = pd.concat([rows for _, rows in opened])
    rows, size = files.loc[table.image], pixels.shape[1]
    outside = ~lungs(size)
    strip = np.ones((size, size), bool)
    border = max(1, round(STRIP * size))
    strip[border:-border, border:-border] = False
    bins = np.linspace(0, 256, 33)
    blocks = np.where(outside, pixels, 0)[:, : size // THUMBNAIL * THUMBNAIL]
    blocks = blocks[:, :, : size // THUMBNAIL * THUMBNAIL]
    shape = (len(pixels), THUMBNAIL, size // THUMBNAIL, THUMBNAIL, size // THUMBNAIL)
    return {
        "file": np.column_stack(
            [
                np.log(rows[["bytes", "width", "height"]].astype(float)),
                rows.tint.astype(float),
                rows["mode"].isin(["1", "L", "I;16"]),
            ]
        ),
        "histogram": np.stack([np.histogram(p[outside], bins, density=True)[0] for p in pixels]),
        "border": pixels[:, strip][:, :: max(1, strip.sum() // 512)].astype(float),
        "thumbnail": blocks.reshape(shape).mean(axis=(2, 4)).reshape(len(pixels), -1),
    }, table["class"].to_numpy()


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="of inspect_covid19")
    for name in ("train", "val", "test"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="images (.npy)")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        audit_nuisance(**vars(arguments.parse_args()))
