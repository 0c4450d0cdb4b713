"""Plot the losses and the validation accuracy of a net over its phases."""

from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.figures import save_figure
from cxr.tables import read_table
from matplotlib import pyplot as plt

COLUMNS = ["train_loss", "val_loss", "val_accuracy"]


def plot_training(histories, out):
    tables = [
        read_table(path, COLUMNS).assign(phase=n) for n, path in enumerate(histories, start=1)
    ]
    table = pd.concat(tables, ignore_index=True)
    epochs = table.index + 1
    figure, (losses, accuracy) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    losses.plot(epochs, table.train_loss, marker=".", label="train")
    losses.plot(epochs, table.val_loss, marker=".", label="validation")
    best = table.groupby("phase").val_loss.idxmin()
    losses.plot(epochs[best], table.val_loss[best], "ko", fillstyle="none", label="kept")
    losses.set(xlabel="epoch", ylabel="binary cross entropy", ylim=(0, None))
    losses.legend(frameon=False)
    accuracy.plot(epochs, table.val_accuracy, marker=".", color="C1")
    accuracy.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    for axes in (losses, accuracy):
        axes.locator_params(axis="x", integer=True)
        for end in table.groupby("phase").size().cumsum()[:-1]:
            axes.axvline(end + 0.5, color="0.8", linewidth=0.8, zorder=0)
    save_figure(out, figure)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--histories", type=Path, nargs="+", required=True, help="one per phase, in order"
    )
    arguments.add_argument("--out", type=Path, required=True, help="SVG to write")
    with user_errors():
        plot_training(**vars(arguments.parse_args()))
