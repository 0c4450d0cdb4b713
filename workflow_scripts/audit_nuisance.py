"""Audit: how well is the class told by what has nothing to do with lungs?

Logistic regressions learn the class from the train and val images, and are tried on the unedited
test images, from: the file (its size, width, height, colour); the histogram of grey values outside
the lungs; a strip along the border; a thumbnail whose lungs are blacked out; and the outline of
the lungs, where --lungs has one for each image: what is blacked out has its shape. Without --lungs
they are approximated by a central ellipse, not segmented. Chance is one third.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.image_sets import add_image_set, open_images
from cxr.data.lungs import ELLIPSE, Lungs, add_lungs
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from cxr.evaluation.linear import linear_model
from cxr.evaluation.scores import metrics
from sklearn.metrics import recall_score

OUTLINE = "outline of the lungs"
THUMBNAIL, STRIP = 16, 0.05  # pixels; share of the width


FILE = ["bytes", "width", "height", "tint", "mode"]
COLUMNS = ["from", "balanced_accuracy", "accuracy_low", "accuracy_high", "n", "lungs"]


def audit_nuisance(manifest, train, val, test, seed, out, lungs=None):
    lungs = Lungs(lungs)
    files = read_image_table(manifest, FILE).set_index("image")
    learnt = features(manifest, files, lungs, train, val)
    tried = features(manifest, files, lungs, test)
    rows_of_test = open_images(test)[1]
    groups, found_by = rows_of_test.filter(["group"]), lungs.describe(rows_of_test.image)
    n_classes = len(set(tried[1]))
    rows = []
    if len(set(learnt[1])) > 1 and n_classes:
        for name, values in learnt[0].items():
            guessed = linear_model(seed).fit(values, learnt[1]).predict(tried[0][name])
            score = recall_score(tried[1], guessed, average=None, labels=sorted(set(tried[1])))
            mean = metrics(groups.assign(**{"class": tried[1], "predicted": guessed})).iloc[-1]
            bounds = mean.recall_low, mean.recall_high
            rows.append((name, score.mean(), *bounds, len(guessed), found_by))
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
    without = table[table["from"] != OUTLINE]
    best = without.loc[without.balanced_accuracy.idxmax()]
    result = (
        f"of {len(tried)} test images a linear model has {best.balanced_accuracy:.0%} right "
        f"(mean over {len(classes)} classes; chance {1 / len(classes):.0%}) from the "
        f"{best['from']} only, the best of {len(without)} kinds of input without lungs "
        f"({best.lungs})"
    )
    for row in table[table["from"] == OUTLINE].itertuples():
        result += f"; {row.balanced_accuracy:.0%} from the {OUTLINE} alone"
    if missing := [name for name in CLASSES if name not in classes]:
        result += f"; there is no test image of {' and '.join(missing)}"
    return result


def features(manifest, files, lungs, *image_sets):
    """{name: float (n, features)} of image sets, and the classes of their images."""
    opened = [open_images(images) for images in image_sets]
    pixels = np.concatenate([array for array, _ in opened])
    table = pd.concat([rows for _, rows in opened])
    if missing := sorted(set(table.image) - set(files.index)):
        raise InputError(f"{manifest}: no row for image {missing[0]!r}")
    rows, size = files.loc[table.image], pixels.shape[1]
    inside = lungs.of(table.image, size)
    blackened = np.where(inside, np.uint8(0), pixels)
    strip = np.ones((size, size), bool)
    border = max(1, round(STRIP * size))
    strip[border:-border, border:-border] = False
    bins = np.linspace(0, 256, 33)
    found = {
        "file": np.column_stack(
            [
                np.log(rows[["bytes", "width", "height"]].astype(float)),
                rows.tint.astype(float),
                rows["mode"].isin(["1", "L", "I;16"]),
            ]
        ),
        "histogram": np.array(
            [
                np.histogram(picture[~mask], bins, density=True)[0]
                for picture, mask in zip(pixels, inside, strict=True)
            ]
        ).reshape(len(pixels), len(bins) - 1),
        "border": blackened[:, strip][:, :: max(1, strip.sum() // 512)].astype(float),
        "thumbnail": thumbnails(blackened),
    }
    if lungs.describe(table.image) != ELLIPSE:
        found[OUTLINE] = thumbnails(inside)
    return found, table["class"].to_numpy()


def thumbnails(pictures):
    """Means of blocks, float (n, THUMBNAIL ** 2), of pictures, (n, size, size)."""
    n, size = len(pictures), pictures.shape[1] // THUMBNAIL * THUMBNAIL
    shape = (n, THUMBNAIL, size // THUMBNAIL, THUMBNAIL, size // THUMBNAIL)
    blocks = pictures[:, :size, :size].reshape(shape)
    return blocks.mean(axis=(2, 4)).reshape(n, THUMBNAIL**2)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--manifest", type=Path, required=True, help="of inspect_covid19")
    for name in ("train", "val", "test"):
        add_image_set(arguments, f"--{name}", f"{name} images")
    arguments.add_argument("--seed", type=int, required=True)
    add_lungs(arguments)
    add_outputs(arguments)
    with user_errors():
        audit_nuisance(**vars(arguments.parse_args()))
