"""Audit: how well is the class told by what has nothing to do with lungs?

Logistic regressions learn the class from the train and val images, and are tried on the unedited
test images, from: the file (its size, width, height, colour); the histogram of grey values outside
the lungs; a strip along the border; a thumbnail whose lungs are blacked out. Chance is one third.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.image_sets import add_image_set, open_images
from cxr.evaluation.audits import add_outputs, lungs, plot_intervals, save_audit
from cxr.evaluation.linear import linear_model
from cxr.evaluation.scores import metrics
from sklearn.metrics import recall_score

THUMBNAIL, STRIP = 16, 0.05  # pixels; share of the width


FILE = ["bytes", "width", "height", "tint", "mode"]
COLUMNS = ["from", "balanced_accuracy", "accuracy_low", "accuracy_high", "n"]


def audit_nuisance(manifest, train, val, test, seed, out):
    files = read_image_table(manifest, FILE).set_index("image")
    learnt = features(manifest, files, train, val)
    tried = features(manifest, files, test)
    groups = open_images(test)[1].filter(["group"])
    n_classes = len(set(tried[1]))
    rows = []
    if len(set(learnt[1])) > 1 and n_classes:
        for name, values in learnt[0].items():
            guessed = linear_model(seed).fit(values, learnt[1]).predict(tried[0][name])
            score = recall_score(tried[1], guessed, average=None, labels=sorted(set(tried[1])))
            mean = metrics(groups.assign(**{"class": tried[1], "predicted": guessed})).iloc[-1]
            rows.append((name, score.mean(), mean.recall_low, mean.recall_high, len(guessed)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    save_audit(out, table, describe(table, learnt[1], tried[1]), "report")
    plot_intervals(
        out.figure, table["from"], table.balanced_accuracy, table.accuracy_low,
        table.accuracy_high, "balanced accuracy without the lungs",
        (1 / max(n_classes, 1), "chance"),
    )  # fmt: skip


def describe(table, learnt, tried):
    """Result. learnt, tried: classes of the images that models learn from and are tried on."""
    classes = sorted(set(tried), key=CLASSES.index)
    if table.empty:
        return (
            f"{len(learnt)} train and val images of {len(set(learnt))} classes and {len(tried)} "
            "test images are too few for a linear model, so that whether anything but the lungs "
            "tells the class can't be said"
        )
    best = table.loc[table.balanced_accuracy.idxmax()]
    result = (
        f"of {len(tried)} test images a linear model has {best.balanced_accuracy:.0%} right "
        f"(mean over {len(classes)} classes; chance {1 / len(classes):.0%}) from the "
        f"{best['from']} only, the best of {len(table)} kinds of input without lungs"
    )
    if missing := [name for name in CLASSES if name not in classes]:
        result += f"; there is no test image of {' and '.join(missing)}"
    return result


def features(manifest, files, *image_sets):
    """{name: float (n, features)} of image sets, and the classes of their images."""
    opened = [open_images(images) for images in image_sets]
    pixels = np.concatenate([array for array, _ in opened])
    table = pd.concat([rows for _, rows in opened])
    if missing := sorted(set(table.image) - set(files.index)):
        raise InputError(f"{manifest}: no row for image {missing[0]!r}")
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
        "histogram": np.array(
            [np.histogram(p[outside], bins, density=True)[0] for p in pixels]
        ).reshape(len(pixels), len(bins) - 1),
        "border": pixels[:, strip][:, :: max(1, strip.sum() // 512)].astype(float),
        "thumbnail": blocks.reshape(shape).mean(axis=(2, 4)).reshape(len(pixels), THUMBNAIL**2),
    }, table["class"].to_numpy()


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="of inspect_covid19")
    for name in ("train", "val", "test"):
        add_image_set(arguments, f"--{name}", f"{name} images")
    arguments.add_argument("--seed", type=int, required=True)
    add_outputs(arguments)
    with user_errors():
        audit_nuisance(**vars(arguments.parse_args()))
