"""Audit: duplicates across splits and classes, and the scores without them.

Writes the pairs of images that are used, with the splits of both, and in SCORES each net's
accuracy on the edited test images, of all and of those that have no duplicate in train or val.
Without --duplicates it says that it can't know.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.overlaps import used_duplicates
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit, span
from cxr.evaluation.intervals import share_interval
from cxr.evaluation.predictions import correct, final_predictions, image_groups, read_predictions
from cxr.files import write_table

PAIRS = ["image", "duplicate", "class", "duplicate_class", "split", "duplicate_split"]
SCORES = ["net", "images", "accuracy", "accuracy_low", "accuracy_high", "n"]


def audit_duplicates(split, predictions, out, scores, duplicates=None):
    used = used_duplicates(duplicates, split) if duplicates else pd.DataFrame(columns=PAIRS)
    across = used[used.split != used.duplicate_split]
    seen = set(across.image[across.split == "test"])
    seen |= set(across.duplicate[across.duplicate_split == "test"])
    accuracies = pd.DataFrame(
        [row for net, path in predictions.items() for row in scores_of(net, path, seen)],
        columns=SCORES,
    )
    write_table(scores, accuracies)
    if duplicates:
        save_audit(out, used, *describe(used, across, accuracies))
    else:
        result = "no table of duplicates was given, so that whether there are any can't be said"
        save_audit(out, used, result, "report")
    plot_intervals(
        out.figure,
        accuracies.net
        + ", "
        + accuracies.images.map({"all": "all images", "without": "no duplicates"}),
        accuracies.accuracy,
        accuracies.accuracy_low,
        accuracies.accuracy_high,
        "accuracy on the test images",
    )


def scores_of(net, path, seen):
    """Rows of SCORES of a net: all test images, and those that are not in seen."""
    table = final_predictions(read_predictions(path))
    for name, part in (("all", table), ("without", table[~table.image.isin(seen)])):
        right = correct(part)
        accuracy = right.mean() if len(part) else np.nan
        yield net, name, accuracy, *share_interval(right, image_groups(part)), len(part)


def describe(used, across, scores):
    """Result and gate."""
    classes = int((used["class"] != used.duplicate_class).sum())
    by_net = scores.set_index("net")
    tested, without = (by_net[by_net.images == name] for name in ("all", "without"))
    n, n_left = tested.n.max(), without.n.min()
    result = (
        f"{len(across)} of {len(used)} pairs of duplicates lie across splits, {classes} across "
        f"classes; {n - n_left} of {n} test images have a duplicate in train or val"
    )
    if not n_left:
        return f"{result}; what the accuracy is without them can't be said, none is left", "report"
    change = without.accuracy - tested.accuracy
    result += f"; on the {n_left} others accuracies differ by {span(change, '{:+.3f}')}"
    return result, "report" if len(across) or classes else "pass"


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--duplicates", type=Path, help="of find_duplicates")
    arguments.add_argument("--split", type=Path, required=True)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    add_outputs(arguments)
    arguments.add_argument("--scores", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_duplicates(**chosen | {"predictions": dict(chosen["predictions"])})
