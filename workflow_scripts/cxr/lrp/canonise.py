"""Canonical nets: the same function without batch norm (Pahde et al., CVPR workshops 2023).

A batch norm is y = s x + t by channel. Its relevance depends on how it is written: alone, or as a
part of the convolution before or after it. Merged, no choice is left:
  convolution -> batch norm: the convolution takes over s and t
  batch norm -> ReLU -> (average pooling, flattening) -> convolution or linear layer, as in
    DenseNets: relu(s x + t) = s max(x, -t / s) + t for s > 0 (min for s < 0), so the ReLU gets the
    threshold -t / s, and the layer behind takes over s and t
What t adds is in biases then, which get no relevance in convolutions but keep their share in the
last, linear layer: a canonised map's sum is less, or more, than the logit by that.
"""

import copy

import torch
from torch import nn
from torch.nn import functional

from cxr.nets.descriptions import NetError

RELUS = (functional.relu, torch.relu)
POOLING = (functional.adaptive_avg_pool2d, functional.avg_pool2d, torch.flatten)
POOLING_LAYERS = (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.Flatten, nn.Dropout, nn.Identity)


class ThresholdReLU(nn.Module):
    """max(x, threshold) for a channel of positive scale, min of negative; 0 for one of scale 0."""

    def __init__(self, scale, shift):
        super().__init__()
        threshold = torch.where(scale == 0, 0, -shift / scale)[:, None, None]
        infinite = torch.full_like(threshold, torch.inf)
        rises, falls = (scale > 0)[:, None, None], (scale < 0)[:, None, None]
        self.register_buffer("low", torch.where(falls, -infinite, threshold))
        self.register_buffer("high", torch.where(rises, infinite, threshold))

    def forward(self, x):
        return x.clamp(self.low, self.high)


@torch.no_grad()
def canonise(traced):
    """A traced net (GraphModule, eval mode) without batch norm: a copy, with the same logits.

    Raises NetError where a batch norm is neither behind a convolution that nothing else reads nor
    before a ReLU and one layer that can take it over.
    """
    traced = copy.deepcopy(traced)
    for node in list(traced.graph.nodes):
        if isinstance(_layer(traced, node), nn.BatchNorm2d):
            _merge(traced, node)
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _layer(traced, node):
    return traced.get_submodule(node.target) if node.op == "call_module" else None


def _merge(traced, node):
    """Give what the batch norm at a node does to its neighbours."""
    norm, before = _layer(traced, node), node.args[0]
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    convolution = _layer(traced, before)
    if isinstance(convolution, nn.Conv2d) and len(before.users) == 1:
        convolution.weight.mul_(scale[:, None, None, None])
        _set_bias(
            convolution, (0 if convolution.bias is None else convolution.bias) * scale + shift
        )
        return
    relu, after = _behind(traced, node)
    name = f"threshold_{node.name}"
    traced.add_submodule(name, ThresholdReLU(scale, shift))
    with traced.graph.inserting_after(relu):
        threshold = traced.graph.call_module(name, (node,))
    relu.replace_all_uses_with(threshold)
    traced.graph.erase_node(relu)
    # A channel of scale 0 is relu(t) whatever the image.
    shift = torch.where(scale == 0, shift.clamp(min=0), shift)
    weight = after.weight.flatten(2).sum(2) if isinstance(after, nn.Conv2d) else after.weight
    _set_bias(after, (0 if after.bias is None else after.bias) + weight @ shift)
    after.weight.mul_(scale.view(1, -1, *[1] * (after.weight.dim() - 2)))


def _set_bias(layer, bias):
    layer.bias = nn.Parameter(bias, requires_grad=False)


def _behind(traced, node):
    """(node of the ReLU behind a batch norm, the layer behind that takes over scale and shift)."""
    relu = _only_user(node)
    if not (isinstance(_layer(traced, relu), nn.ReLU) or relu.target in RELUS):
        raise _unknown(node)
    after = _only_user(relu)
    while after.target in POOLING or isinstance(_layer(traced, after), POOLING_LAYERS):
        after = _only_user(after)
    layer, n = _layer(traced, after), len(_layer(traced, node).weight)
    if isinstance(layer, nn.Conv2d):
        # Padding is 0 and not the shift.
        fits = layer.padding in (0, (0, 0)) and layer.groups == 1 and layer.in_channels == n
    else:
        fits = isinstance(layer, nn.Linear) and layer.in_features == n
    if not fits:
        raise _unknown(node)
    return relu, layer


def _only_user(node):
    if len(node.users) != 1:
        raise _unknown(node)
    return next(iter(node.users))


def _unknown(node):
    return NetError(
        f"layer {node.target}: batch norm that no layer beside it can take over, so lrp_canonised "
        "has no map; leave it out of heatmaps.methods"
    )
