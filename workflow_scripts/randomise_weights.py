"""Sanity check of heatmaps: how much do they depend on the trained weights?

After Adebayo et al. 2018 (arXiv 1810.03292): the output layer, or all layers, are re-initialised
at random, and the heatmaps of the true class are compared with those of the trained net by rank
correlation. Maps that stay the same, up to their sign, say nothing about what was learnt. Batch
norm of the re-initialised net takes its statistics from the images.

Writes a row per image, method and re-initialised part, and a plot.
"""

import copy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.lrp.methods import METHODS, heatmaps, title_of
from cxr.lrp.pytorch import rank_correlations
from cxr.nets.devices import select_device
from cxr.nets.inputs import batches, network_input, to_device
from cxr.nets.torch_nets import create, load_net, output_layer
from matplotlib import pyplot as plt

DRAWN = {"output_layer": "output layer drawn anew", "all": "all layers drawn anew"}


def randomise_weights(net, images, methods, per_class, seed, table, figure):
    device = select_device()
    trained, description = load_net(net)
    pixels, images = first_of_each_class(*open_images(images), per_class)
    outputs = [description["outputs"].index(name) for name in images["class"]]
    torch.manual_seed(seed)
    nets = {"output_layer": copy.deepcopy(trained)}
    output_layer(nets["output_layer"]).reset_parameters()
    nets["all"] = create(description["architecture"], len(description["outputs"]))
    see(nets["all"].to(device), pixels, device)
    rows = []
    maps = heatmaps(trained, pixels, outputs, methods, device)
    of_nets = {
        drawn: heatmaps(other, pixels, outputs, methods, device) for drawn, other in nets.items()
    }
    for method in methods:
        for drawn, others in of_nets.items():
            found = rank_correlations(maps[method], others[method])
            columns = {"image": images.image, "method": method, "drawn_anew": drawn}
            rows.append(pd.DataFrame(columns | {"rank_correlation": found}))
    result = pd.concat(rows)
    write_table(table, result)
    plot(figure, result)


def first_of_each_class(pixels, table, n):
    """The first n images of each class, with their rows."""
    table = table.groupby("class", sort=False).head(n)
    return pixels[table.index], table


@torch.no_grad()
def see(net, pixels, device, passes=5):
    """Let a net's batch norm take its statistics from images."""
    net.train()
    for _ in range(passes):
        for batch in batches(np.arange(len(pixels)), 16):
            net(network_input(to_device(pixels[batch], device)))
    net.eval()


def plot(path, table):
    parts = table.groupby(["method", "drawn_anew"], sort=False)
    drawing, axes = plt.subplots(figsize=(6.5, 0.6 + 0.4 * len(parts)), layout="constrained")
    labels = []
    for place, ((method, drawn), rows) in enumerate(parts):
        spread = np.linspace(-0.25, 0.25, len(rows))
        axes.plot(rows.rank_correlation, place + spread, "o", ms=4, alpha=0.6, mew=0)
        labels.append(f"{title_of(method)},\n{DRAWN[drawn]}")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.axvline(0, color="grey", lw=0.8)
    axes.set_xlim(-1.05, 1.05)
    axes.set_xlabel("rank correlation with the trained net's heatmap; -1, 1: the same up to sign")
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "test images")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    arguments.add_argument("--per-class", type=int, required=True, help="images per class")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the new weights")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    with user_errors():
        randomise_weights(**vars(arguments.parse_args()))
