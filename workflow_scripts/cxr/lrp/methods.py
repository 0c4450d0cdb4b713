"""The methods that make heatmaps, and the baselines that any method has to beat.

Each has one entry in METHODS. heatmaps.methods in the configuration names those of a study.
"""

import zlib
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import fx
from torch.nn import functional

from cxr.cli import progress
from cxr.lrp.pytorch import BATCH, relevance_maps
from cxr.nets.descriptions import NetError
from cxr.nets.devices import OTHERWISE, memory_errors
from cxr.nets.inputs import batches, network_input, to_device
from cxr.nets.torch_nets import check_differentiable

IG_STEPS = 16


def heatmaps(net, pixels, outputs, methods, device, seed=0):
    """Heatmaps of one output's logit for each image: {method: float32 (n, size, size)}.

    pixels: uint8 (n, size, size). outputs: int (n,), numbers of output neurons. methods: names in
    METHODS. seed: of the method random. The higher a value, the more a pixel speaks for the
    output; units differ by method. A map depends on its image and net alone, up to the last digits
    of float32. net is left on device, in eval mode. Raises NetError (an InputError) where a method
    has no map of the net, InputError where a GPU has too little memory.
    """
    return {
        name: METHODS[name].maps(net, pixels, outputs, device, seed).astype(np.float32)
        for name in methods
    }


def _relevance(method, net, pixels, outputs, device, _seed):
    return relevance_maps(net, pixels, outputs, [method], device)[method][0]


def _by_gradient(attribute, net, pixels, outputs, device, _seed):
    """Batch by batch, attribute(net, inputs, outputs), float32 (n, size, size)."""
    check_differentiable(net, device)
    size = BATCH[device.type]
    found = []
    with memory_errors(f"gradients of {size} images at once", OTHERWISE):
        net = net.to(device, torch.float32, memory_format=torch.channels_last).eval()
        outputs = torch.as_tensor(outputs, device=device)
        for batch in progress(batches(np.arange(len(pixels)), size), attribute.__name__[1:]):
            inputs = network_input(to_device(np.array(pixels[batch]), device))
            found.append(attribute(net, inputs, outputs[batch]).cpu())
    return torch.cat(found).numpy()


def _gradient(net, inputs, outputs):
    """The gradient of the logits of outputs, int (n,), by inputs, (n, 3, size, size)."""
    inputs = inputs.detach().requires_grad_()
    with torch.enable_grad():
        logits = net(inputs).gather(1, outputs[:, None])
    return torch.autograd.grad(logits.sum(), inputs)[0]


def _gradient_x_input(net, inputs, outputs):
    return (_gradient(net, inputs, outputs) * inputs).sum(1)


def _integrated_gradients(net, inputs, outputs):
    """From 0, ImageNet's mean colour; Gauss-Legendre's points, more exact than equal steps."""
    points, weights = np.polynomial.legendre.leggauss(IG_STEPS)
    mean = sum(
        float(weight) / 2 * _gradient(net, inputs * float((point + 1) / 2), outputs)
        for point, weight in zip(points, weights, strict=True)
    )
    return (mean * inputs).sum(1)


class _FeatureMaps(fx.Interpreter):
    """A net that keeps its last feature maps: (n, channels, h, w), of several positions."""

    kept = None

    def run_node(self, node):
        value = super().run_node(node)
        if isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[2:].numel() > 1:
            self.kept = value
        return value


def _grad_cam(net, inputs, outputs):
    try:
        maps = _FeatureMaps(fx.symbolic_trace(net))
    except fx.proxy.TraceError as error:
        raise NetError(f"{type(net).__name__} has no fixed graph: {error}") from error
    with torch.enable_grad():
        logits = maps.run(inputs.detach().requires_grad_()).gather(1, outputs[:, None])
    (gradient,) = torch.autograd.grad(logits.sum(), maps.kept)
    weights = gradient.mean((2, 3), keepdim=True)
    cam = (weights * maps.kept.detach()).sum(1, keepdim=True).relu()
    return functional.interpolate(cam, inputs.shape[2:], mode="bilinear", align_corners=False)[:, 0]


def _gaussian(_net, pixels, _outputs, _device, _seed):
    """Centred, with a standard deviation of a quarter of the size."""
    size = pixels.shape[1]
    profile = np.exp(-8 * ((np.arange(size) + 0.5) / size - 0.5) ** 2)
    return np.tile(np.outer(profile, profile), (len(pixels), 1, 1))


def _edges(_net, pixels, _outputs, _device, _seed):
    """The magnitude of Sobel's gradient."""
    return np.hypot(*(ndimage.sobel(np.float32(pixels), axis) for axis in (1, 2)))


def _random(_net, pixels, _outputs, _device, seed):
    """Uniform noise, seeded by each image's pixels, so that it does not depend on the others."""
    return np.array(
        [np.random.default_rng([seed, zlib.crc32(image.tobytes())]).random(image.shape)
         for image in np.asarray(pixels)]
    )  # fmt: skip


class Method(NamedTuple):
    """A way to make heatmaps: maps(net, pixels, outputs, device, seed), as heatmaps has them."""

    title: str
    sentence: str
    source: str
    maps: Callable


BACH = "Bach et al. 2015, doi 10.1371/journal.pone.0130140"
METHODS = {
    "preset_a_flat": Method(
        "LRP, as shipped",
        "Layer-wise relevance propagation as iNNvestigate ships it: the paper's method.",
        f"{BACH}; Alber et al. 2019, JMLR 20(93)",
        partial(_relevance, "preset_a_flat"),
    ),
    "preset_a_flat_conserving": Method(
        "LRP, conserving",
        "The same rules with batch norm and the first convolution so that no relevance is lost.",
        BACH,
        partial(_relevance, "preset_a_flat_conserving"),
    ),
    "lrp_canonised": Method(
        "LRP, canonised",
        "The conserving rules on the same net with batch norm merged into its neighbours.",
        "Pahde et al., CVPR workshops 2023, arXiv 2211.17174",
        partial(_relevance, "lrp_canonised"),
    ),
    "grad_cam": Method(
        "Grad-CAM",
        "The last feature maps, weighted by their mean gradients, where positive; enlarged.",
        "Selvaraju et al. 2017, arXiv 1610.02391",
        partial(_by_gradient, _grad_cam),
    ),
    "gradient_x_input": Method(
        "Gradient x input",
        "The gradient of the logit times the network's input, summed over channels.",
        "Shrikumar et al. 2016, arXiv 1605.01713",
        partial(_by_gradient, _gradient_x_input),
    ),
    "integrated_gradients": Method(
        "Integrated gradients",
        "The mean gradient on the way from ImageNet's mean colour to the image, times the input.",
        "Sundararajan et al. 2017, arXiv 1703.01365",
        partial(_by_gradient, _integrated_gradients),
    ),
    "gaussian": Method(
        "Centred Gaussian",
        "The same for every image: bright in the middle.",
        "a baseline that looks at neither image nor net",
        _gaussian,
    ),
    "edges": Method(
        "Edges",
        "The image's own edges, by Sobel's filter.",
        "a baseline that does not look at the net (Adebayo et al. 2018, arXiv 1810.03292)",
        _edges,
    ),
    "random": Method(
        "Random",
        "Uniform noise.",
        "a baseline that looks at neither image nor net",
        _random,
    ),
}
BASELINES = ("gaussian", "edges", "random")
