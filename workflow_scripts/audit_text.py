"""Audit: letters and words in the images, by class, and what covering them changes.

Per net, over the test images that have boxes: how many decisions change when they are covered, and
by how much the sigmoid of the true class does, on average, with its interval
(20 images at least, else none is given: see mean_interval).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit, span
from cxr.evaluation.intervals import mean_interval
from cxr.evaluation.predictions import final_predictions, image_groups, read_predictions

COLUMNS = ["net", "images_with_text", "changed_decisions", "change", "change_low", "change_high"]


def audit_text(text_boxes, predictions, seed, out):
    boxed = set(read_image_table(text_boxes).image)
    tables = {net: both_versions(path) for net, path in predictions.items()}
    rows = [(net, *effect(*versions, boxed, seed)) for net, versions in tables.items()]
    table = pd.DataFrame(rows, columns=COLUMNS)
    edited, _ = next(iter(tables.values()))
    save_audit(out, table, describe(edited, boxed, table), "report")
    label = "change of the true class's sigmoid by covering text"
    plot_intervals(
        out.figure, table.net, table.change, table.change_low, table.change_high,
        label, (0, "no change"),
    )  # fmt: skip


def both_versions(path):
    """Predictions of the edited and of the unedited test images, in the same order."""
    table = read_predictions(path)
    edited, unedited = (
        final_predictions(table, version).set_index("image") for version in ("edited", "unedited")
    )
    if not edited.index.equals(unedited.index):
        raise InputError(f"{path}: edited and unedited images differ")
    return edited, unedited


def effect(edited, unedited, boxed, seed):
    """A row of COLUMNS but the net's name; not a number where no image has a box."""
    has = edited.index.isin(boxed)
    places = pd.Categorical(edited["class"], CLASSES).codes
    sigmoids = [
        part[list(CLASSES)].to_numpy()[range(len(places)), places][has]
        for part in (edited, unedited)
    ]
    change = sigmoids[0] - sigmoids[1]
    flips = int((edited.predicted != unedited.predicted)[has].sum())
    mean = change.mean() if has.any() else np.nan
    return int(has.sum()), flips, mean, *mean_interval(change, image_groups(edited)[has], seed)


def describe(edited, boxed, table):
    """Result. edited: predictions of one net, for the images and their classes."""
    n = table.images_with_text.max()
    if not n:
        return (
            f"none of {len(edited)} test images has a box around letters or words (none were "
            "found, or none were looked for), so that what they change can't be said"
        )
    has = edited.index.isin(boxed)
    of_class = {name: has[edited["class"] == name] for name in CLASSES}
    by_class = ", ".join(f"{some.sum()} of {len(some)} {name}" for name, some in of_class.items())
    return (
        f"letters or words are in {by_class} test images; covering them changes "
        f"{span(table.changed_decisions)} of {n} decisions of a net"
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--text-boxes", type=Path, required=True)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_text(**chosen | {"predictions": dict(chosen["predictions"])})
