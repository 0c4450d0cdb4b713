"""Draw figure 2, 3 or 4: an X-ray, its heatmap by each method, and its probabilities.

Writes the figure and, beside it, the rows of heatmaps.csv behind it with the sigmoids of the
image; for figure 4 also those before the word was added.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_images, read_relevance
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.lrp.heatmaps import draw_heatmap
from cxr.lrp.methods import title_of
from cxr.tables import read_table
from matplotlib import pyplot as plt

NAMES = {"normal": "normal", "viral_pneumonia": "viral pneumonia", "covid19": "COVID-19"}
VERSIONS = {"edited": "words covered", "unedited": "unedited", "word": "word drawn in"}
SHOWN = {2: "edited", 3: "unedited", 4: "word"}


def plot_heatmaps(figure, images, heatmaps, relevance, predictions, out, out_table):
    pixels, _ = open_images(images)
    probabilities = read_table(predictions, ["image", "figure", "version", *NAMES])
    places = np.flatnonzero(
        (probabilities.figure == figure) & (probabilities.version == SHOWN[figure])
    )
    columns = ["figure", "version", "relevance", "method", "logit", "conservation_error"]
    table = pd.concat([read_table(path, columns, empty=True) for path in heatmaps])
    rows = table[(table.figure == figure) & (table.version == SHOWN[figure])]
    maps = {name: m for path in relevance for name, m in read_relevance(path).items()}
    across = min(4, 1 + len(rows))
    down = -(-(1 + len(rows)) // across)
    drawing, grid = plt.subplots(
        down, across, figsize=(3.2 * across, 0.9 + 3.8 * down), layout="compressed", squeeze=False
    )
    axes = grid.ravel()
    for spare in axes[1 + len(rows) :]:
        spare.set_axis_off()
    image = pixels[places[0]]
    axes[0].imshow(image, cmap="gray", vmin=0, vmax=255)
    axes[0].set_title(f"test image, {VERSIONS[SHOWN[figure]]}\n")
    axes[0].set_axis_off()
    for panel, row in zip(axes[1:], rows.itertuples(), strict=False):
        draw_heatmap(panel, maps[row.relevance], image)
        sums = f"logit {row.logit:.3g}"
        if pd.notna(row.conservation_error):  # it is meant to add up
            sums = f"relevance sum {row.relevance_sum:.3g}, {sums}"
        panel.set_title(f"{title_of(row.method)}\n{sums}")
    described = probabilities[probabilities.figure == figure]
    lines = [
        f"{VERSIONS[row['version']]}: "
        + ", ".join(f"{name} {row[column]:.2%}" for column, name in NAMES.items())
        for _, row in described.iterrows()
    ]
    explained = NAMES[rows["class"].iloc[0]]
    drawing.suptitle(f"Relevance for {explained}: red for, blue against", fontsize=10)
    drawing.supxlabel("\n".join(lines), fontsize=8)
    save_figure(out, drawing)
    sigmoids = described[["image", "version", *NAMES]]
    keys = ["image", "version"]
    write_table(out_table, sigmoids.merge(rows, on=keys, how="left"))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--figure", type=int, choices=SHOWN, required=True)
    add_image_set(arguments, "--images", "images of figures 2 to 4")
    arguments.add_argument("--heatmaps", type=Path, nargs="+", required=True, help="CSVs of maps")
    arguments.add_argument("--relevance", type=Path, nargs="+", required=True, help=".npz")
    arguments.add_argument(
        "--predictions", type=Path, required=True, help="CSV of predict_figure_images"
    )
    arguments.add_argument("--out", type=Path, required=True, help="SVG to write")
    arguments.add_argument("--out-table", type=Path, required=True, help="CSV to write")
    with user_errors():
        plot_heatmaps(**vars(arguments.parse_args()))
