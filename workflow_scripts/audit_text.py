"""Audit: letters and words in the images, by class, and what covering them changes.

Per net, over the test images that have boxes: how many decisions change when they are covered, and
by how much the sigmoid of the true class does, on average, with a bootstrap interval.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.audits import plot_intervals, save_audit
from cxr.covid19 import CLASSES, read_image_table
from cxr.logs import InputError, pair, parser, user_errors
from cxr.metrics import BOOTSTRAP_SAMPLES, final_predictions, interval, read_predictions


def audit_text(text_boxes, predictions, seed, out):
    boxed = set(read_image_table(text_boxes).image)
    rng = np.random.default_rng(seed)
    rows, shares = [], {}
    for net, path in predictions.items():
        table = read_predictions(path)
        edited, unedited = (
            final_predictions(table, version).set_index("image")
            for version in ("edited", "unedited")
        )
        if not edited.index.equals(unedited.index):
            raise InputError(f"{path}: edited and unedited images differ")
        has = edited.index.isin(boxed)
        shares = {name: has[edited["class"] == name].mean() for name in CLASSES}
        places = pd.Categorical(edited["class"], CLASSES).codes
        sigmoids = [
            part[list(CLASSES)].to_numpy()[range(len(places)), places][has]
            for part in (edited, unedited)
        ]
        change = sigmoids[0] - sigmoids[1]
        flips = int((edited.predicted != unedited.predicted)[has].sum())
        mean, low, high = np.nan, np.nan, np.nan
        if has.any():
            drawn = change[rng.integers(len(change), size=(BOOTSTRAP_SAMPLES, len(change)))]
            mean, (low, high) = change.mean(), interval(drawn.mean(axis=1))
        rows.append((net, int(has.sum()), flips, mean, low, high))
    columns = [
        "net",
        "images_with_text",
        "changed_decisions",
        "change",
        "change_low",
        "change_high",
    ]
    table = pd.DataFrame(rows, columns=columns)
    by_class = ", ".join(f"{share:.0%} of {name}" for name, share in shares.items())
    result = (
        f"text in {by_class} test images; covering it changes {table.changed_decisions.min()} to "
        f"{table.changed_decisions.max()} decisions of a net"
    )
    save_audit(out, table, result, "report")
    label = "change of the true class's sigmoid by covering text"
    plot_intervals(
        out.with_suffix(".svg"), table.net, table.change, table.change_low, table.change_high,
        label, (0, "no change"),
    )  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--text-boxes", type=Path, required=True)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_text(**chosen | {"predictions": dict(chosen["predictions"])})
