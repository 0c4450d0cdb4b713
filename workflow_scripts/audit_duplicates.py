"""Audit: duplicates across splits and classes, and the scores without them.

Writes the pairs with the splits of both, and in OUT.scores.csv each net's accuracy on the edited
test images, of all and of those that have no duplicate in train or val.
"""

from pathlib import Path

import pandas as pd
from cxr.audits import plot_intervals, save_audit
from cxr.covid19 import read_image_table
from cxr.files import write_table
from cxr.logs import pair, parser, user_errors
from cxr.metrics import final_predictions, proportion_interval, read_predictions


def audit_duplicates(duplicates, split, predictions, out):
    pairs = read_image_table(duplicates, ["duplicate", "class", "duplicate_class"])
    split_of = read_image_table(split, ["split"]).set_index("image").split
    pairs["split"] = pairs.image.map(split_of)
    pairs["duplicate_split"] = pairs.duplicate.map(split_of)
    used = pairs[(pairs.split != "excluded") & (pairs.duplicate_split != "excluded")]
    across = used[used.split != used.duplicate_split]
    classes = int((used["class"] != used.duplicate_class).sum())
    seen = {
        image
        for row in across.itertuples()
        for image, where in ((row.image, row.split), (row.duplicate, row.duplicate_split))
        if where == "test"
    }
    rows = []
    for net, path in predictions.items():
        table = final_predictions(read_predictions(path))
        for name, part in (("all", table), ("without", table[~table.image.isin(seen)])):
            right = int((part["class"] == part.predicted).sum())
            low, high = proportion_interval(right, len(part))
            rows.append((net, name, right / len(part), low, high, len(part)))
    columns = ["net", "images", "accuracy", "accuracy_low", "accuracy_high", "n"]
    scores = pd.DataFrame(rows, columns=columns)
    change = scores[scores.images == "without"].accuracy.to_numpy()
    change = change - scores[scores.images == "all"].accuracy.to_numpy()
    result = (
        f"{len(across)} of {len(used)} pairs of duplicates lie across splits, {classes} across "
        f"classes; without the {len(seen)} test images concerned accuracies change by "
        f"{change.min():+.3f} to {change.max():+.3f}"
    )
    write_table(out.with_suffix(".scores.csv"), scores)
    save_audit(out, pairs, result, "report" if len(across) or classes else "pass")
    plot_intervals(
        out.with_suffix(".svg"),
        scores.net + ", " + scores.images.map({"all": "all images", "without": "no duplicates"}),
        scores.accuracy,
        scores.accuracy_low,
        scores.accuracy_high,
        "accuracy on the test images",
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--duplicates", type=Path, required=True, help="of find_duplicates")
    arguments.add_argument("--split", type=Path, required=True)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_duplicates(**chosen | {"predictions": dict(chosen["predictions"])})
