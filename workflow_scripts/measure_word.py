"""Word experiment: add a word to every test image, as figure 4 of the paper does to one.

The test images are those with their own words covered; the word is drawn in white at the nets'
image size. Writes

TABLE: a row per net, class of the images and output: n, mean sigmoid without and with the word,
  the mean of the paired changes with its 95 % interval, and changed predictions (of the images of
  the class);
RELEVANCE: for the net --explain, a row per method and class: the share of the positive relevance
  for the prediction that lies in the word's box, with its interval, and the box's share of the
  area, the value for randomly spread relevance;
FIGURE: the changes of each net's COVID-19 sigmoid.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.data.images import draw_word, word_box
from cxr.evaluation.audits import plot_intervals
from cxr.evaluation.intervals import mean_interval
from cxr.evaluation.predictions import image_groups
from cxr.files import write_table
from cxr.lrp.methods import METHODS, heatmaps
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from PIL import Image
from scipy.special import expit


def measure_word(
    nets, images, explain, methods, word, position, height, seed, table, relevance, figure
):
    if explain not in nets:
        raise InputError(f"--explain {explain}: no such net among {list(nets)}")
    device = select_device()
    groups, rows = image_groups(open_images(images)[1]), []
    for name, path in progress(nets.items(), "nets"):
        net, description = load_net(path)
        clear = open_by_class(images, description["outputs"])
        worded = with_word(clear, word, position, height)
        logits = [predict_logits(net, data, device) for data in (clear, worded)]
        rows += changes(name, clear, logits, groups, seed)
        if name == explain:
            decisions = logits[1].argmax(axis=1)
            pixels = worded.arrays[0]
            maps = heatmaps(net, pixels, decisions, methods, device)
            box = word_box(clear.shape[0], word, position, height)
            shares = {m: shares_on(box, maps[m], clear, groups, seed) for m in methods}
            write_table(relevance, pd.concat(shares, names=["method"]).reset_index("method"))
    columns = ["net", "class", "output", "n", "without", "with", "change", "change_low"]
    found = pd.DataFrame(rows, columns=[*columns, "change_high", "changed_decisions"])
    write_table(table, found)
    covid19 = found[found.output == "covid19"]
    plot_intervals(
        figure, covid19.net + ", " + covid19["class"], covid19.change, covid19.change_low,
        covid19.change_high, f"change of the COVID-19 sigmoid by {word}", (0, "none"),
    )  # fmt: skip


def with_word(data, word, position, height):
    """The images with the word drawn in."""
    squares = (Image.fromarray(square) for square in data.pixels(np.arange(len(data))))
    worded = [np.asarray(draw_word(square, word, position, height)) for square in squares]
    return data.with_pixels(np.stack(worded))


def changes(name, data, logits, groups, seed):
    """Rows of the table: a net's paired changes, by class of the images and output."""
    without, worded = (expit(values.astype(np.float64)) for values in logits)
    flipped = without.argmax(axis=1) != worded.argmax(axis=1)
    for number, class_name in enumerate(data.outputs):
        of_class = data.labels[:, number] == 1
        n = int(of_class.sum())
        for place, output in enumerate(data.outputs):
            before, after = without[of_class, place], worded[of_class, place]
            change = after - before
            bounds = mean_interval(change, groups[of_class], seed)
            means = (before.mean(), after.mean(), change.mean())
            yield name, class_name, output, n, *means, *bounds, int(flipped[of_class].sum())


def shares_on(box, maps, data, groups, seed):
    """Share of the positive relevance of maps (n, s, s) that falls on a box, by class."""
    left, top, right, bottom = box
    positive = np.maximum(maps, 0)
    total = positive.sum(axis=(1, 2))
    on_box = positive[:, top:bottom, left:right].sum(axis=(1, 2))
    shares = np.divide(on_box, total, out=np.full(len(maps), np.nan), where=total > 0)
    area = (right - left) * (bottom - top) / maps[0].size
    rows = []
    for number, name in enumerate(data.outputs):
        of_class = (data.labels[:, number] == 1) & np.isfinite(shares)
        found = shares[of_class]
        bounds = mean_interval(found, groups[of_class], seed, (0, 1))
        mean = found.mean() if len(found) else np.nan
        rows.append((name, len(found), mean, *bounds, area))
    columns = ["class", "n", "share_on_word", "share_low", "share_high", "share_of_area"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    add_image_set(arguments, "--images", "test images")
    arguments.add_argument("--explain", required=True, help="net whose relevance is measured")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    arguments.add_argument("--word", required=True)
    arguments.add_argument(
        "--position",
        type=float,
        nargs=2,
        required=True,
        help="left and top, as shares of the image",
    )
    arguments.add_argument(
        "--height", type=float, required=True, help="share of the image's height"
    )
    arguments.add_argument("--seed", type=int, required=True, help="seed of the bootstrap")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--relevance", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        measure_word(**chosen | {"nets": dict(chosen["nets"])})
