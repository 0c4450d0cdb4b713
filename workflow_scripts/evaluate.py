"""Confusion matrix and scores of one net's predictions of the test images.

If the predictions hold several phases and versions, the last phase and the edited images are used.
Intervals are 95 %: exact for proportions, bootstrap for F1, AUROC and means. With --split
and --duplicates, the bootstrap samples images of a patient, and duplicates, together.
"""

from pathlib import Path

from cxr.cli import InputError, parser, user_errors
from cxr.data.splits import groups_of
from cxr.evaluation.metrics import confusion, final_predictions, metrics, read_predictions, summary
from cxr.files import write_table


def evaluate(
    predictions, confusion_path, metrics_path, summary_path, seed, split=None, duplicates=None
):
    table = final_predictions(read_predictions(predictions))
    if table.empty:
        raise InputError(f"{predictions}: no predictions of edited test images in it")
    if split is not None:
        table = table.assign(group=table.image.map(groups_of(split, duplicates)))
        if (unknown := table.group.isna()).any():
            raise InputError(f"{split}: no row for image {table.image[unknown].iloc[0]!r}")
    write_table(confusion_path, confusion(table))
    write_table(metrics_path, metrics(table, seed))
    write_table(summary_path, summary(table, seed))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--predictions", type=Path, required=True, help="CSV, plain or gzipped")
    for name in ("confusion", "metrics", "summary"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--seed", type=int, default=0, help="seed of the bootstrap; default: 0")
    arguments.add_argument("--split", type=Path, help="split.csv of the images, for patient_id")
    arguments.add_argument("--duplicates", type=Path, help="CSV of find_duplicates")
    chosen = arguments.parse_args()
    if (chosen.split is None) != (chosen.duplicates is None):
        arguments.error("give --split and --duplicates, or neither")
    with user_errors():
        files = (chosen.predictions, chosen.confusion, chosen.metrics, chosen.summary)
        evaluate(*files, chosen.seed, chosen.split, chosen.duplicates)
