"""The methods that make heatmaps, and the baselines that any method has to beat.

Each has one entry in METHODS; heatmaps.methods in the configuration names those of a study. The
rules read them here, too, so that PyTorch is imported only where a map is computed.
"""

import zlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


def heatmaps(net, pixels, outputs, methods, device, seed=0):
    """Heatmaps of logits for each image: {method: float32 (*outputs.shape, size, size)}.

    pixels: uint8 (n, size, size). outputs: int (n,) or (n, k), numbers of output neurons; LRP of
    several of an image takes less time than of each alone. methods: names in METHODS. seed: of the
    method random. The higher a value, the more a pixel speaks for the output; units differ by
    method. A map depends on its image and net alone, up to the rounding of float32: single pixels
    of conserving LRP may move by some per cent of the map's maximum, ranks hardly. net is left on
    device, in eval mode. Raises NetError (an InputError) where a method has no map of the net,
    InputError where a GPU has too little memory.
    """
    outputs = np.asarray(outputs)
    columns, shape = outputs.reshape(len(outputs), -1), (*outputs.shape, *pixels.shape[1:])
    return {
        name: METHODS[name]
        .maps(net, pixels, columns, device, seed)
        .astype(np.float32)
        .reshape(shape)
        for name in methods
    }


def _lrp(method):
    def maps(net, pixels, outputs, device, _seed):
        from cxr.lrp.pytorch import relevance_maps

        return relevance_maps(net, pixels, outputs, [method], device)[method][0]

    return maps


def _by_gradient(method):
    def maps(net, pixels, outputs, device, _seed):
        from cxr.lrp import gradients

        return getattr(gradients, method)(net, pixels, outputs, device)

    return maps


def _without_net(draw):
    """A method by a function of pixels and seed: its maps, (n, size, size), suit any output."""

    def maps(_net, pixels, outputs, _device, seed):
        return np.repeat(draw(pixels, seed)[:, None], outputs.shape[1], axis=1)

    return maps


def _gaussian(pixels, _seed):
    """Centred, with a standard deviation of a quarter of the size."""
    size = pixels.shape[1]
    profile = np.exp(-8 * ((np.arange(size) + 0.5) / size - 0.5) ** 2)
    return np.tile(np.outer(profile, profile), (len(pixels), 1, 1))


def _edges(pixels, _seed):
    """The magnitude of Sobel's gradient."""
    from scipy import ndimage

    return np.hypot(*(ndimage.sobel(np.float32(pixels), axis) for axis in (1, 2)))


def _random(pixels, seed):
    """Uniform noise, seeded by each image's pixels, so that it does not depend on the others."""
    return np.array(
        [np.random.default_rng([seed, zlib.crc32(image.tobytes())]).random(image.shape)
         for image in np.asarray(pixels)]
    )  # fmt: skip


class Method(NamedTuple):
    """A way to make heatmaps: maps(net, pixels, outputs, device, seed), for heatmaps.

    outputs are (n, k), maps (n, k, size, size). title: for plots. source: of the method. adds_up:
    whether a map's sum is meant to be the logit.
    """

    title: str
    sentence: str
    source: str
    maps: Callable
    adds_up: bool = False


BACH = "Bach et al. 2015, doi 10.1371/journal.pone.0130140"
METHODS = {
    "preset_a_flat": Method(
        "LRP (as shipped)",
        "Layer-wise relevance propagation as iNNvestigate ships it: the paper's method.",
        f"{BACH}; Alber et al. 2019, JMLR 20(93)",
        _lrp("preset_a_flat"),
        adds_up=True,
    ),
    "preset_a_flat_conserving": Method(
        "LRP (conserving)",
        "The same rules with batch norm and the first convolution so that no relevance is lost.",
        BACH,
        _lrp("preset_a_flat_conserving"),
        adds_up=True,
    ),
    "lrp_canonised": Method(
        "LRP (canonised)",
        "The conserving rules on the same net with batch norm merged into its neighbours.",
        "Pahde et al., CVPR workshops 2023, arXiv 2211.17174",
        _lrp("lrp_canonised"),
        adds_up=True,
    ),
    "grad_cam": Method(
        "Grad-CAM",
        "The last feature maps, weighted by their mean gradients, where positive; enlarged.",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        _by_gradient("grad_cam"),
    ),
    "gradient_x_input": Method(
        "Gradient x input",
        "The gradient of the logit times the network's input, summed over channels.",
        "Shrikumar et al. 2016, arXiv 1605.01713",
        _by_gradient("gradient_x_input"),
        adds_up=True,
    ),
    "integrated_gradients": Method(
        "Integrated gradients",
        "The mean gradient between ImageNet's mean colour and the image, times the input; adds up "
        "to the logit less that of the colour.",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        _by_gradient("integrated_gradients"),
        adds_up=True,
    ),
    "gaussian": Method(
        "Centred Gaussian",
        "The same for every image: bright in the middle.",
        "A baseline that looks at neither image nor net",
        _without_net(_gaussian),
    ),
    "edges": Method(
        "Edges",
        "The image's own edges, by Sobel's filter.",
        "A baseline that does not look at the net (Adebayo et al. 2018, arXiv 1810.03292)",
        _without_net(_edges),
    ),
    "random": Method(
        "Random",
        "Uniform noise.",
        "A baseline that looks at neither image nor net",
        _without_net(_random),
    ),
}
BASELINES = ("gaussian", "edges", "random")
SHOWN = "preset_a_flat_conserving"  # where one is shown, unless another is asked for
# Of these, iNNvestigate has
IN_INNVESTIGATE = ("preset_a_flat", "preset_a_flat_conserving")


def title_of(name):
    """A method's title; that of a preset which iNNvestigate alone has is its name."""
    return METHODS[name].title if name in METHODS else name
