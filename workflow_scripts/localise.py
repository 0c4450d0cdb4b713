"""Measure whether a net's heatmaps point at what masks say is there.

Each image is explained for the finding, or the class, that its mask is of. The measures are those
of cxr/evaluation/localisation.py. Writes a row per finding or class and method, over all of them
last, and a figure. Findings that the net has no output for are left out.
"""

import sys
from pathlib import Path

import numpy as np
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set
from cxr.data.masks import read_masked
from cxr.evaluation.localisation import ALL, localisation_table, measure_maps
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.lrp.methods import BASELINES, METHODS, heatmaps
from cxr.nets.devices import select_device
from cxr.nets.torch_nets import load_net
from matplotlib import pyplot as plt

PANELS = {
    "pointing_game": "pointing game",
    "relevance_mass": "relevance mass",
    "rank_accuracy": "rank accuracy",
    "iou": "IoU",
}


def localise(net, images, methods, iou_threshold, most, seed, table, figure):
    (loaded, description), (pixels, masks, rows) = load_net(net), read_masked(images)
    kind = "finding" if "finding" in rows else "class"
    outputs = description["outputs"]
    if without := sorted(set(rows[kind]) - set(outputs)):
        print(f"warning: {net} has no output for {', '.join(without)}; left out", file=sys.stderr)
    rows = choose(rows[rows[kind].isin(outputs)], kind, most, seed)
    explained = np.array([outputs.index(name) for name in rows[kind]], int)
    pixels, masks = pixels[rows.index], masks[rows.index]
    if rows.empty:
        print(f"warning: {images}: found no image to explain; the table is empty", file=sys.stderr)
    methods, device = list(dict.fromkeys([*methods, *BASELINES])), select_device()
    maps = dict.fromkeys(methods, np.zeros(pixels.shape))  # of none
    if len(rows):
        maps = heatmaps(loaded.to(device), pixels, explained, methods, device, seed)
    scores = {method: measure_maps(found, masks, iou_threshold) for method, found in maps.items()}
    areas = masks.mean(axis=(1, 2))
    found = localisation_table(kind, rows[kind], rows.group, areas, scores, seed)
    write_table(table, found)
    draw(figure, found, kind)


def choose(rows, kind, most, seed):
    """At most so many rows of each kind, sampled, in their order."""
    order = np.random.default_rng(seed).permutation(len(rows))
    return rows.iloc[order].groupby(kind).head(most).sort_index()


def draw(path, table, kind):
    """A panel per measure: a method's mean with its interval, and small, each finding or class."""
    methods = list(dict.fromkeys(table.method))
    place = {method: number for number, method in enumerate(methods)}
    drawing, panels = plt.subplots(
        1, len(PANELS), figsize=(10, 1 + 0.34 * len(methods)), sharey=True, layout="constrained"
    )
    over_all, single = table[table[kind] == ALL], table[table[kind] != ALL]
    for axes, (measure, title) in zip(panels, PANELS.items(), strict=True):
        chance = over_all.chance.iloc[0]
        axes.axvline(chance, color="grey", lw=0.8, ls="--", label="share of the area")
        axes.plot(single[measure], single.method.map(place), "|", color="silver", label=f"a {kind}")
        for row in over_all.itertuples():
            colour = "grey" if row.method in BASELINES else "C0"
            value, low, high = (getattr(row, measure + end) for end in ("", "_low", "_high"))
            axes.hlines(place[row.method], low, high, color=colour, lw=1)
            axes.plot(value, place[row.method], "o", ms=4, color=colour)
        axes.set_xlabel(title)
        axes.set_xlim(-0.02, min(axes.get_xlim()[1], 1.02))
    titles = [METHODS[method].title for method in methods]
    for row in over_all[over_all.without_relevance > 0].itertuples():
        titles[place[row.method]] += f"\n{row.without_relevance} of {row.n} maps empty"
    panels[0].set_yticks(range(len(methods)), titles)
    panels[0].invert_yaxis()
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    n = int(over_all.n.max())
    drawing.suptitle(
        f"{n} pairs of image and {kind}" if n else "no test image has a mask", fontsize=9
    )
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "images with masks (.npz)")
    arguments.add_argument(
        "--methods", nargs="+", choices=METHODS, required=True, help="the baselines are added"
    )
    arguments.add_argument(
        "--iou-threshold", type=float, required=True, help="of iou, as a share of a map's maximum"
    )
    arguments.add_argument(
        "--most", type=int, required=True, metavar="N", help="images per finding or class"
    )
    arguments.add_argument(
        "--seed", type=int, required=True, help="of the choice and the bootstrap"
    )
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    with user_errors():
        localise(**vars(arguments.parse_args()))
