"""Confusion matrix and scores of one net's predictions of the test images.

If the predictions hold several phases and versions, the last phase and the edited images are used.
Intervals are 95 %; where the predictions have the column group, they take into account that images
of a group (of one patient, or duplicates) are not independent.
"""

from pathlib import Path

from cxr.cli import InputError, parser, user_errors
from cxr.evaluation.predictions import final_predictions, read_predictions
from cxr.evaluation.scores import confusion, metrics, summary
from cxr.files import write_table


def evaluate(predictions, confusion_path, metrics_path, summary_path, seed):
    table = final_predictions(read_predictions(predictions))
    if table.empty:
        raise InputError(f"{predictions}: no predictions of edited test images in it")
    write_table(confusion_path, confusion(table))
    write_table(metrics_path, metrics(table))
    write_table(summary_path, summary(table, seed))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--predictions", type=Path, required=True, help="CSV, plain or gzipped")
    for name in ("confusion", "metrics", "summary"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--seed", type=int, default=0, help="seed of random weights; default: 0")
    chosen = arguments.parse_args()
    with user_errors():
        files = (chosen.predictions, chosen.confusion, chosen.metrics, chosen.summary)
        evaluate(*files, chosen.seed)
