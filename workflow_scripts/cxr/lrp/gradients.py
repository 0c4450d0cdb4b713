"""Heatmaps by gradients, batch by batch.

Inputs are normalised by ImageNet's statistics, so that 0 is ImageNet's mean colour. Functions named
as the methods take (net, pixels, outputs, device), outputs int (n, k), and return float32
(n, k, size, size).
"""

import numpy as np
import torch
from captum.attr import InputXGradient, IntegratedGradients
from torch import fx
from torch.nn import functional

from cxr.cli import progress
from cxr.lrp.pytorch import batch_size
from cxr.nets.descriptions import NetError
from cxr.nets.devices import OTHERWISE, memory_errors
from cxr.nets.inputs import batches, network_input, to_device
from cxr.nets.torch_nets import check_differentiable

# Points between 0 and the image, Gauss-Legendre's.
INTEGRATION_STEPS = 16


def gradient_x_input(net, pixels, outputs, device):
    """The gradient of the logit times the input, summed over channels."""

    def of_batch(inputs, outputs):
        return InputXGradient(net).attribute(inputs.requires_grad_(), outputs).sum(1)

    return _in_batches(of_batch, net, pixels, outputs, device, "gradient_x_input")


def integrated_gradients(net, pixels, outputs, device):
    """The mean gradient between 0 and the image, times the input, summed over channels."""

    def of_batch(inputs, outputs):
        maps = IntegratedGradients(net).attribute(
            inputs, 0, outputs, n_steps=INTEGRATION_STEPS, internal_batch_size=len(inputs)
        )
        return maps.sum(1)

    return _in_batches(of_batch, net, pixels, outputs, device, "integrated_gradients")


def grad_cam(net, pixels, outputs, device):
    """The last feature maps, weighted by the mean of their gradients, where positive; enlarged.

    The last are those of more than one position that the net computes last: of a DenseNet, behind
    its last ReLU, which is no layer that captum's LayerGradCam could be given.
    """
    try:
        features = _FeatureMaps(fx.symbolic_trace(net.eval()))
    except fx.proxy.TraceError as error:
        raise NetError(f"{type(net).__name__} has no fixed graph: {error}") from error

    def of_batch(inputs, outputs):
        with torch.enable_grad():
            logits = features.run(inputs.requires_grad_()).gather(1, outputs[:, None])
        (gradient,) = torch.autograd.grad(logits.sum(), features.kept)
        weights = gradient.mean((2, 3), keepdim=True)
        cam = (weights * features.kept.detach()).sum(1, keepdim=True).relu()
        return functional.interpolate(cam, inputs.shape[2:], mode="bilinear")[:, 0]

    return _in_batches(of_batch, net, pixels, outputs, device, "grad_cam")


class _FeatureMaps(fx.Interpreter):
    """A net that keeps its last feature maps: (n, channels, h, w) of several positions."""

    kept = None

    def run_node(self, node):
        value = super().run_node(node)
        if isinstance(value, torch.Tensor) and value.dim() == 4 and value.shape[2:].numel() > 1:
            self.kept = value
        return value


def _in_batches(of_batch, net, pixels, outputs, device, name):
    """of_batch(inputs, one output of each) -> (n, size, size) for all images and outputs."""
    check_differentiable(net, device)
    size, found = batch_size(pixels, device), []
    with memory_errors(f"gradients of {size} images at once", OTHERWISE):
        net.to(device, torch.float32, memory_format=torch.channels_last).eval()
        outputs = torch.as_tensor(outputs, device=device)
        for batch in progress(batches(np.arange(len(pixels)), size), name):
            inputs = network_input(to_device(np.array(pixels[batch]), device))
            maps = [of_batch(inputs.detach(), column) for column in outputs[batch].unbind(1)]
            found.append(torch.stack(maps, 1).detach().cpu())
    return torch.cat(found).numpy()
