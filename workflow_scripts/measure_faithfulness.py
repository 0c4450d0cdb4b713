"""Measure how faithful heatmaps of test images are to their net, by removing patches.

The maps are those of explain_test_set, of each image's predicted class, and the baselines. Patches
are removed in the order of their relevance and filled in two ways; the measures are those of
cxr/evaluation/faithfulness.py. Writes

--out: a row per method and fill: the mean over images of the area under the curve of the predicted
  class's sigmoid with the most relevant patches removed first, and the least relevant first, and
  of their difference (the symmetric relevance gain), each with its 95 % interval, in which images
  of a patient, and duplicates, count together (empty for fewer than 20: see mean_interval); and n;
--curves: a row per method, fill, order and share of removed patches: the mean sigmoid;
--figure: the curves.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images, read_relevance
from cxr.evaluation.faithfulness import (
    FILLS,
    ORDERS,
    area,
    fill_of,
    patch_ranks,
    removal_curves,
)
from cxr.evaluation.intervals import mean_interval
from cxr.evaluation.predictions import image_groups
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.lrp.methods import BASELINES, heatmaps, title_of
from cxr.nets.devices import select_device
from cxr.nets.torch_nets import load_net
from cxr.tables import read_table
from matplotlib import pyplot as plt

FILLED = {"mean": "filled with the mean grey", "blurred": "blurred"}


def measure_faithfulness(
    net, images, relevance, table, patches, steps, per_class, seed, out, curves, figure,
):  # fmt: skip
    device = select_device()
    net, description = load_net(net)
    pixels, rows = open_images(images)
    maps, decided = read_maps(relevance, table, rows.image)
    rows["group"] = image_groups(rows)
    chosen = rows if per_class is None else rows.groupby("class", sort=False).head(per_class)
    pixels, outputs = (
        np.array(pixels[chosen.index]),
        [description["outputs"].index(name) for name in decided[chosen.index]],
    )
    maps = {name: values[chosen.index] for name, values in maps.items()}
    maps |= heatmaps(net, pixels, outputs, BASELINES, device, seed)
    ranks = {name: patch_ranks(values, patches, seed) for name, values in maps.items()}
    found = {
        fill: removal_curves(
            net, pixels, outputs, ranks, fill_of(pixels, fill, patches), steps, device
        )
        for fill in FILLS
    }
    write_table(out, areas_of(found, chosen.group, seed))
    write_table(curves, mean_curves(found))
    plot(figure, found)


def read_maps(relevance, table, images):
    """({method: maps (n, size, size)}, predicted classes (n,)) of the images, in their order."""
    maps = read_relevance(relevance)
    explained = read_table(table, filled=["image", "class", "method"])
    for name, values in maps.items():
        of_method = explained[explained.method == name]
        if len(values) != len(images) or list(of_method.image) != list(images):
            raise InputError(f"{relevance}, {table}: the maps by {name} are not of the test images")
    return maps, of_method["class"].to_numpy()


def areas_of(found, groups, seed):
    """Rows of the table. found: {fill: {method: (n, orders, steps + 1)}}; groups: (n,)."""
    rows = []
    for method in next(iter(found.values())):
        for fill, by_method in found.items():
            areas = area(by_method[method])
            values = dict(zip(ORDERS, areas.T, strict=True))
            values["difference"] = areas[:, 1] - areas[:, 0]
            row = {"method": method, "fill": fill}
            for name, of_images in values.items():
                within = (-1 if name == "difference" else 0, 1)
                low, high = mean_interval(of_images, groups, seed, within)
                row |= {name: of_images.mean(), f"{name}_low": low, f"{name}_high": high}
            rows.append(row | {"n": len(areas)})
    return pd.DataFrame(rows)


def mean_curves(found):
    parts = []
    for fill, by_method in found.items():
        for method, curves in by_method.items():
            for order, sigmoids in zip(ORDERS, curves.mean(axis=0), strict=True):
                removed = np.linspace(0, 1, len(sigmoids))
                columns = {"method": method, "fill": fill, "order": order, "removed": removed}
                parts.append(pd.DataFrame(columns | {"sigmoid": sigmoids}))
    return pd.concat(parts)


def plot(path, found):
    """A row of panels per fill, a column per method; the area between the curves is shaded."""
    methods = list(next(iter(found.values())))
    drawing, grid = plt.subplots(
        len(found), len(methods), figsize=(1.6 * len(methods), 3.9), sharex=True, sharey=True,
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for panels, (fill, by_method) in zip(grid, found.items(), strict=True):
        panels[0].set_ylabel(f"{FILLED[fill]}\nmean sigmoid")
        for axes, method in zip(panels, methods, strict=True):
            most, least = by_method[method].mean(axis=0)
            removed = np.linspace(0, 100, len(most))
            axes.fill_between(removed, most, least, color="0.88", lw=0)
            axes.plot(removed, most, label="most relevant first")
            axes.plot(removed, least, label="least relevant first")
            gain = area(least) - area(most)
            axes.set_title(f"{title_of(method)}\n{gain:+.3f}", fontsize=8)
    grid[0, -1].set_ylim(0, 1)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside upper center", ncols=2, frameon=False)
    drawing.supxlabel("removed patches (%)", fontsize=9)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "test images, words covered")
    arguments.add_argument("--relevance", type=Path, required=True, help="test_set.npz")
    arguments.add_argument("--table", type=Path, required=True, help="test_set.csv")
    arguments.add_argument(
        "--patches", type=int, required=True, help="patches across an image, and down"
    )
    arguments.add_argument("--steps", type=int, required=True, help="in which all are removed")
    arguments.add_argument("--per-class", type=int, help="images, at most; default: all")
    arguments.add_argument("--seed", type=int, required=True, help="of ties, random, bootstrap")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--curves", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    with user_errors():
        measure_faithfulness(**vars(arguments.parse_args()))
