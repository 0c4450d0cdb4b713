"""Draw figure 1: test accuracy of the best net of each phase, for all nets.

--histories are of each net's phases, in order. Writes the figure and the CSV behind it: net,
phase, epochs (run up to the end of the phase), best_epoch (of the phase), version, accuracy with
its 95 % interval, n.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.evaluation.intervals import share_interval
from cxr.evaluation.predictions import correct, image_groups, read_predictions
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.tables import read_table
from matplotlib import pyplot as plt


def plot_accuracies(predictions, histories, out, out_table):
    nets = list(predictions)
    of_net = {net: [path for name, path in histories if name == net] for net in nets}
    table = pd.concat(
        [accuracies(net, predictions[net], of_net[net]) for net in nets], ignore_index=True
    )
    write_table(out_table, table)
    figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
    for net, rows in table[table.version == "edited"].groupby("net", sort=False):
        bars = [rows.accuracy - rows.accuracy_low, rows.accuracy_high - rows.accuracy]
        # A little aside each, so that intervals of equal nets don't hide each other.
        aside = (nets.index(net) - (len(nets) - 1) / 2) * 0.008 * table.epochs.max()
        axes.errorbar(
            rows.epochs + aside, rows.accuracy, yerr=bars, marker="o", capsize=2, label=net
        )
    axes.axhline(1 / 3, color="0.6", linestyle=":", linewidth=1)
    axes.annotate("chance", (table.epochs.max(), 1 / 3), ha="right", va="bottom", color="0.4")
    axes.set(xlabel="epoch", ylabel="test accuracy, words covered", ylim=(0, 1.02))
    axes.set_xticks(sorted(table.epochs.unique()))
    axes.legend(frameon=False, ncols=2, loc="lower right")
    save_figure(out, figure)


def accuracies(net, predictions, histories):
    """Accuracy of one net after each phase, on both versions of the test images."""
    predictions = read_predictions(predictions)
    rows, epochs = [], 0
    for (phase, of_phase), path in zip(predictions.groupby("phase"), histories, strict=True):
        history = read_table(path, ["epoch", "val_loss"])
        epochs += len(history)
        best = int(history.epoch[history.val_loss.idxmin()])
        for version, table in of_phase.groupby("version"):
            right = correct(table)
            row = (right.mean(), *share_interval(right, image_groups(table)), len(table))
            rows.append((net, phase, epochs, best, version, *row))
    columns = ["net", "phase", "epochs", "best_epoch", "version", "accuracy", "accuracy_low"]
    return pd.DataFrame(rows, columns=[*columns, "accuracy_high", "n"])


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name in ("predictions", "histories"):
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
        )
    arguments.add_argument("--out", type=Path, required=True, help="SVG to write")
    arguments.add_argument("--out-table", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        plot_accuracies(**chosen | {"predictions": dict(chosen["predictions"])})
