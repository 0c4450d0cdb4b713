"""Faithfulness of heatmaps: what a net's output does while an image's patches are removed.

Patches are ranked by their mean relevance and removed, the most relevant first or the least
relevant first. A map that ranks as the net does makes the output fall soon in the first order and
late in the second (Samek et al. 2017, doi 10.1109/TNNLS.2016.2599820). The area between the two
curves is the symmetric relevance gain (Bluecher et al. 2024, arXiv 2401.06654): 0 for a ranking at
random, and it depends less on what patches are filled with than either curve does.

With single patches a step and a fixed grey for fill, the curves are those of Quantus'
RegionPerturbation. Its `mean` differs: it is that of the image as filled so far.
"""

import numpy as np
import torch
from scipy import ndimage

from cxr.cli import progress
from cxr.lrp.pytorch import BATCH
from cxr.nets.devices import OTHERWISE, memory_errors
from cxr.nets.inputs import network_input, to_device

FILLS = ("mean", "blurred")
ORDERS = ("most_relevant_first", "least_relevant_first")


def fill_of(pixels, fill, patches):
    """What removed patches are filled with, float32 (n, size, size), of uint8 (n, size, size).

    fill: `mean`, the image's mean grey value; or `blurred`, the image behind a Gaussian whose
    standard deviation is a patch's width.
    """
    if fill == "mean":
        means = pixels.mean(axis=(1, 2), dtype=np.float64).astype(np.float32)
        return np.broadcast_to(means[:, None, None], pixels.shape)
    width = pixels.shape[1] / patches
    return ndimage.gaussian_filter(np.float32(pixels), width, axes=(1, 2), mode="nearest")


def patch_numbers(size, patches):
    """The patch that each pixel of an image lies in, int (size, size), of patches x patches."""
    place = np.arange(size) * patches // size
    return place[:, None] * patches + place


def patch_ranks(maps, patches, seed):
    """Rank of each patch of maps (n, size, size), int (n, patches**2); 0: the most relevant.

    Of patches with equal relevance, as where a map is 0, chance decides.
    """
    numbers = patch_numbers(maps.shape[1], patches).ravel()
    areas = np.bincount(numbers)
    means = [np.bincount(numbers, m.ravel().astype(np.float64)) / areas for m in maps]
    chance = np.random.default_rng(seed).random((len(maps), patches**2))
    order = np.array([np.lexsort(keys) for keys in zip(chance, -np.array(means), strict=True)])
    return np.argsort(order, axis=1)


@torch.no_grad()
def removal_curves(net, pixels, outputs, ranks, fills, steps, device):
    """The sigmoid of each image's output while its patches are removed.

    pixels: uint8 (n, size, size). outputs: int (n,). ranks: {method: (n, patches**2)}, of
    patch_ranks. fills: float32 (n, size, size). Returns {method: float64 (n, 2, steps + 1)}: by
    ORDERS, from the whole image to none of it. An image's curves do not depend on the others.
    """
    n_patches = next(iter(ranks.values())).shape[1]
    patches = round(n_patches**0.5)
    removed = np.round(np.linspace(0, n_patches, steps + 1)).astype(int)
    numbers = to_device(patch_numbers(pixels.shape[1], patches), device)
    net = net.to(device, memory_format=torch.channels_last).eval()
    curves = {method: np.empty((len(pixels), len(ORDERS), steps + 1)) for method in ranks}
    for place in progress(range(len(pixels)), "images"):
        of_image = np.stack([r[place] for r in ranks.values()])[:, None, None]
        inner = removed[1:-1, None]
        masks = np.concatenate([of_image < inner, of_image >= n_patches - inner], axis=1)
        ends = np.zeros((2, n_patches), bool)
        ends[1] = True
        scores = _scores(
            net, pixels[place], fills[place], np.concatenate([ends, masks.reshape(-1, n_patches)]),
            numbers, int(outputs[place]), device,
        )  # fmt: skip
        between = scores[2:].reshape(len(ranks), len(ORDERS), steps - 1)
        for curve, of_method in zip(curves.values(), between, strict=True):
            curve[place, :, 0], curve[place, :, 1:-1], curve[place, :, -1] = (
                scores[0], of_method, scores[1],
            )  # fmt: skip
    return curves


def _scores(net, square, fill, masks, numbers, output, device):
    """Sigmoids of an output for an image, each mask's patches filled, float64 (n,)."""
    square, fill = (to_device(np.array(values, np.float32), device) for values in (square, fill))
    size = 8 * BATCH[device.type]
    found = []
    with memory_errors(f"predictions of {size} images at once", OTHERWISE):
        for start in range(0, len(masks), size):
            hidden = to_device(masks[start : start + size], device)[:, numbers]
            logits = net(network_input(torch.where(hidden, fill, square)))[:, output]
            found.append(logits.double().sigmoid().cpu())
    return torch.cat(found).numpy()


def area(curves):
    """Area under curves (..., steps + 1) of steps that are 1 wide in all, by trapezoids."""
    return np.trapezoid(curves, axis=-1) / (curves.shape[-1] - 1)
