"""Check iNNvestigate's heatmaps against a second implementation, in PyTorch and float64.

Compares each map that explain wrote with PyTorch's map of the same image, class and method, for
the methods that both have. Writes image, class, method, rank_correlation
(Spearman's, borders excluded), logit_difference, and relevance_sum of both. Fails if a correlation
is below --least.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.cli import InputError, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images, read_relevance
from cxr.files import write_table
from cxr.lrp.methods import IN_INNVESTIGATE
from cxr.lrp.pytorch import rank_correlations, relevance_maps
from cxr.nets.devices import select_device
from cxr.nets.torch_nets import load_net
from cxr.tables import read_table


def check_heatmaps(net, images, heatmaps, relevance, least, out):
    device = select_device()
    net, description = load_net(net)
    pixels, rows = open_images(images)
    stored = read_relevance(relevance)
    explained = read_table(
        heatmaps, ["relevance_sum"], numbers=["logit"],
        filled=["image", "class", "method", "relevance"],
    )  # fmt: skip
    methods = [method for method in IN_INNVESTIGATE if method in set(explained.method)]
    if not methods:
        raise InputError(
            f"{heatmaps}: no heatmap by any of {IN_INNVESTIGATE}, so nothing can be checked"
        )
    checked = []
    for method in methods:
        table = explained[explained.method == method]
        if list(table.image) != list(rows.image):
            raise InputError(f"{heatmaps}: its images are not those of {images}")
        outputs = [description["outputs"].index(name) for name in table["class"]]
        found = relevance_maps(net, pixels, outputs, [method], device, torch.float64)
        maps, logits = found[method]
        theirs = np.stack([stored[name] for name in table.relevance])
        checked.append(
            table[["image", "class", "method"]].assign(
                rank_correlation=rank_correlations(theirs, maps),
                logit_difference=logits - table.logit.to_numpy(),
                relevance_sum=table.relevance_sum,
                relevance_sum_pytorch=maps.sum(axis=(1, 2), dtype=np.float64),
            )
        )
    table = pd.concat(checked)
    if not (table.rank_correlation >= least).all():
        worst = table.sort_values("rank_correlation", na_position="first").iloc[0]
        raise InputError(
            f"{heatmaps}: the heatmap of {worst.image} by {worst.method} has a rank correlation of "
            f"{worst.rank_correlation:.4f} with PyTorch's, expected at least {least}"
        )
    write_table(out, table)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "explained images")
    arguments.add_argument("--heatmaps", type=Path, required=True, help="heatmaps.csv")
    arguments.add_argument("--relevance", type=Path, required=True, help="relevance.npz")
    arguments.add_argument("--least", type=float, required=True, help="smallest rank correlation")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        check_heatmaps(**vars(arguments.parse_args()))
