"""Layer-wise relevance propagation (LRP) in PyTorch: a second implementation of innvestigate.py.

The same methods, without TensorFlow, many images at a time, on a GPU where there is one. A net is
traced to its graph by torch.fx, functional calls included, and runs with each operation's backward
pass replaced by a rule: autograd then propagates relevance where it would propagate gradients. An
operation that no rule is known for is an error, as its heatmap would be wrong.

Rules (Bach et al. 2015, doi 10.1371/journal.pone.0130140; presets as in iNNvestigate), where z_ij
is what input i adds to output j, and R_j is the relevance of output j:
  linear layer: epsilon 0.1, R_i = sum_j z_ij / (z_j + 0.1 sign(z_j)) R_j, z_j with its bias
  convolution: alpha 1 beta 0, the same of positive z_ij alone, without epsilon
  first convolution: Flat, equal z_ij for all pixels under the kernel (preset_a_flat_conserving;
    preset_a_flat where it has no padding, as SqueezeNets': iNNvestigate takes a convolution behind
    a padding layer for an inner one)
  batch norm: relevance passes (preset_a_flat_conserving), or iNNvestigate's rule (preset_a_flat)
  batch norm merged into its neighbours first (lrp_canonised): see canonise.py; else as conserving,
    with no share for the biases of convolutions
  ReLU: relevance passes; average pooling, sum: in proportion to z_ij
  max pooling, concatenation, flattening: as a gradient would
"""

import operator

import numpy as np
import torch
from scipy.stats import rankdata
from torch import fx, nn
from torch.autograd import Function
from torch.nn import functional
from torch.nn.grad import conv2d_input

from cxr.cli import progress
from cxr.lrp.canonise import ThresholdReLU, canonise
from cxr.nets.descriptions import NetError
from cxr.nets.devices import OTHERWISE, memory_errors
from cxr.nets.inputs import batches, network_input, to_device
from cxr.nets.torch_nets import check_differentiable

METHODS = ("preset_a_flat", "preset_a_flat_conserving", "lrp_canonised")
BATCH = {"cpu": 8, "cuda": 32}  # of 224 x 224 pixels; 32 of DenseNet201 take 6 GiB in float32


def batch_size(pixels, device):
    """Images (n, size, size) that are explained at once: as many more as they are smaller, up to 4.

    One core convolves 16 images and more by faster code than fewer.
    """
    return BATCH[device.type] * int(np.clip((224 / pixels.shape[1]) ** 2, 1, 4))


def relevance_maps(net, pixels, outputs, methods, device, dtype=torch.float32):
    """Relevance of logits for each image: {method: (relevance, logits)}.

    pixels: uint8 (n, size, size). outputs: int (n,) or (n, k), numbers of output neurons; several
    of an image take less time than each alone. relevance is (*outputs.shape, size, size), summed
    over the channels; logits as outputs. dtype: of all arithmetic and of what is returned; net is
    left in it. Raises InputError where a GPU has too little memory, or no deterministic backward
    pass for the net.
    """
    check_differentiable(net, device)
    with memory_errors(f"LRP of {batch_size(pixels, device)} images at once", OTHERWISE):
        net = net.to(device, dtype, memory_format=torch.channels_last)
        outputs = torch.as_tensor(outputs, device=device)
        return {
            method: _relevance_maps(Explainer(net, method), pixels, outputs, device, dtype)
            for method in methods
        }


def _relevance_maps(explainer, pixels, outputs, device, dtype):
    found = []
    split = batches(np.arange(len(pixels)), batch_size(pixels, device))
    for batch in progress(split, explainer.method):
        inputs = network_input(to_device(np.array(pixels[batch]), device))
        found.append(explainer(inputs.to(dtype), outputs[batch]))
    return tuple(torch.cat(parts).cpu().numpy() for parts in zip(*found, strict=True))


def rank_correlations(maps, others):
    """Spearman's correlation of each map with its other, (n,); both (n, size, size).

    Without a border of a 14th of the size (16 of 224 pixels), where implementations pad
    differently. 1 where both maps are all zero there; not a number where one is constant else.
    """
    border = maps.shape[-1] // 14
    inside = np.s_[:, border : maps.shape[1] - border, border : maps.shape[2] - border]
    ranks = [rankdata(m[inside].reshape(len(m), -1), axis=1) for m in (maps, others)]
    one, other = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    norms = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    both_zero = ~(maps[inside].any(axis=(1, 2)) | others[inside].any(axis=(1, 2)))
    with np.errstate(invalid="ignore"):
        return np.where(both_zero, 1.0, (one * other).sum(axis=1) / norms)


class Explainer(fx.Interpreter):
    """A net that hands back relevance instead of gradients.

    Raises NetError where the net cannot be traced, or an operation has no rule.
    """

    def __init__(self, net, method="preset_a_flat_conserving"):
        if method not in METHODS:
            raise ValueError(f"method {method!r}; expected one of {METHODS}")
        try:
            traced = fx.symbolic_trace(net.eval())
        except fx.proxy.TraceError as error:
            raise NetError(f"{type(net).__name__} has no fixed graph: {error}") from error
        self.canonised = method == "lrp_canonised"
        super().__init__(canonise(traced) if self.canonised else traced)
        self.extra_traceback = False  # messages name the operation
        self.method, self.conserving = method, method != "preset_a_flat"
        self.parts = {}  # of convolutions: their weights by sign
        self.several = False  # outputs of an image: then z of convolutions is kept

    def __call__(self, inputs, outputs):
        """Relevance of the logits of outputs, int (n,) or (n, k), in inputs, (n, channels, h, w).

        Returns (relevance summed over channels, (*outputs.shape, h, w); the logits, as outputs).
        """
        inputs, columns = inputs.detach().requires_grad_(), outputs.reshape(len(outputs), -1)
        self.several = columns.shape[1] > 1
        with torch.enable_grad():
            logits = self.run(inputs).gather(1, columns)
        maps = []
        for left, logit in enumerate(logits.unbind(1), 1 - columns.shape[1]):
            (relevance,) = torch.autograd.grad(logit, inputs, logit.detach(), retain_graph=left < 0)
            maps.append(relevance.sum(1))
        maps = torch.stack(maps, 1).reshape(*outputs.shape, *inputs.shape[2:])
        return maps, logits.detach().reshape(outputs.shape)

    def run_node(self, node):
        self.node = node
        return super().run_node(node)

    def call_module(self, target, args, kwargs):
        layer = self.fetch_attr(target)
        return self._rule(RULES.get(type(layer)), f"layer {target}, {layer}")(layer, *args)

    def call_function(self, target, args, kwargs):
        def operation(*inputs):
            return target(*inputs, *args[len(inputs) :], **kwargs)

        tensors = [value for value in args if isinstance(value, torch.Tensor)] or args
        rule = self._rule(RULES.get(target), f"function {target.__name__}")
        return rule(operation, *tensors)

    def call_method(self, target, args, kwargs):
        if target == "flatten":  # of RegNets
            return self.call_function(torch.flatten, args, kwargs)
        return self._rule(None, f"method {target}")

    def _rule(self, rule, what):
        if rule is None:
            raise NetError(
                f"{what}: no LRP rule is known for it, and without one relevance would be wrong"
            )
        return lambda *arguments: rule(self, *arguments)

    # Rules: the explainer, the operation, its inputs

    def linear(self, layer, x):
        return Linear.apply(x, layer)

    def convolution(self, layer, x):
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise NetError(
                f"layer {self.node.target}: LRP supports only convolutions padded with zeros"
            )
        is_first = self.node.args[0].op == "placeholder"
        if is_first and (self.conserving or not any(layer.padding)):
            return FlatConvolution.apply(x, layer)
        if layer not in self.parts:
            self.parts[layer] = parts_by_sign(layer, is_nonnegative(self.node.args[0]))
        bias = None if self.canonised else layer.bias
        return Convolution.apply(x, layer, self.parts[layer], bias, self.several)

    def batch_norm(self, layer, x):
        return Pass.apply(x, layer) if self.conserving else ShippedBatchNorm.apply(x, layer)

    def relu(self, _operation, x):
        return Pass.apply(x, functional.relu)

    def threshold_relu(self, layer, x):
        return Pass.apply(x, layer)

    def in_proportion(self, operation, *inputs):
        return InProportion.apply(operation, *inputs)

    def by_gradient(self, operation, *inputs):
        return operation(*inputs)


RULES = {
    nn.Linear: Explainer.linear,
    nn.Conv2d: Explainer.convolution,
    nn.BatchNorm2d: Explainer.batch_norm,
    ThresholdReLU: Explainer.threshold_relu,
    **dict.fromkeys((nn.ReLU, functional.relu, torch.relu), Explainer.relu),
    **dict.fromkeys(
        (nn.AvgPool2d, nn.AdaptiveAvgPool2d, functional.avg_pool2d, functional.adaptive_avg_pool2d),
        Explainer.in_proportion,
    ),
    **dict.fromkeys((operator.add, operator.iadd, torch.add), Explainer.in_proportion),
    **dict.fromkeys(
        (nn.MaxPool2d, functional.max_pool2d, torch.cat, nn.Flatten, torch.flatten, nn.Dropout,
         nn.Identity),
        Explainer.by_gradient,
    ),
}  # fmt: skip
KEEP_SIGN = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Dropout)


def is_nonnegative(node):
    """Whether a node's values are at least 0 whatever the image: it follows a ReLU."""
    if node.op == "call_module":
        layer = node.graph.owning_module.get_submodule(node.target)
        if isinstance(layer, nn.ReLU):
            return True
        return isinstance(layer, KEEP_SIGN) and is_nonnegative(node.args[0])
    return node.op == "call_function" and node.target in (functional.relu, torch.relu)


def divide(relevance, z):
    """relevance / z, and 0 where z is 0: nothing was added there."""
    return (relevance / z).masked_fill_(z == 0, 0)


class Pass(Function):
    @staticmethod
    def forward(ctx, x, operation):
        return operation(x)

    @staticmethod
    def backward(ctx, relevance):
        return relevance, None


class Linear(Function):
    @staticmethod
    def forward(ctx, x, layer):
        z = layer(x)
        ctx.save_for_backward(x, z)
        ctx.layer = layer
        return z

    @staticmethod
    def backward(ctx, relevance):
        x, z = ctx.saved_tensors
        stable = z + torch.copysign(torch.full_like(z, 0.1), z)
        return x * ((relevance / stable) @ ctx.layer.weight), None


def parts_by_sign(layer, nonnegative):
    """[(limits of the input's values, weight, input_gradient)] whose products are at least 0."""
    positive, negative = layer.weight.clamp(min=0), layer.weight.clamp(max=0)
    if nonnegative:
        return [({}, positive, input_gradient(layer, positive))]
    return [
        ({"min": 0}, positive, input_gradient(layer, positive)),
        ({"max": 0}, negative, input_gradient(layer, negative)),
    ]


def input_gradient(layer, weight):
    """What turns the gradient of a convolution's output, and its input's shape, into the input's.

    At a stride of 1 that is a convolution, too, with the kernel turned by 180 degrees; PyTorch's
    backward pass on a CPU takes up to twice as long.
    """
    reach = [d * (k - 1) for d, k in zip(layer.dilation, weight.shape[2:], strict=True)]
    padding = [r - p for r, p in zip(reach, layer.padding, strict=True)]
    if set(layer.stride) == {1} and layer.groups == 1 and min(padding) >= 0:
        turned = weight.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)
        how = (1, padding, layer.dilation)
        return lambda gradient, _shape: functional.conv2d(gradient, turned, None, *how)
    how = (layer.stride, layer.padding, layer.dilation, layer.groups)
    return lambda gradient, shape: conv2d_input(shape, weight, gradient, *how)


class Convolution(Function):
    """Positive times positive and, where there are any, negative times negative.

    bias, (n,), is what a channel's bias adds to its output: it keeps its share; None keeps none.
    several: whether more than one backward pass follows, for which z is then kept.
    """

    @staticmethod
    def forward(ctx, x, layer, parts, bias, several):
        ctx.save_for_backward(x)
        ctx.layer, ctx.parts, ctx.bias = layer, parts, bias
        ctx.several, ctx.z = several, None
        return layer(x)

    @staticmethod
    def backward(ctx, relevance):
        (x,) = ctx.saved_tensors
        layer = ctx.layer
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        inputs = [x.clamp(**limits) if limits else x for limits, _, _ in ctx.parts]
        z = ctx.z
        if z is None:
            z = sum(
                functional.conv2d(part, weight, None, *how)
                for part, (_, weight, _) in zip(inputs, ctx.parts, strict=True)
            )
            if ctx.bias is not None:
                z = z + ctx.bias[:, None, None]
            ctx.z = z if ctx.several else None
        shares = divide(relevance, z)
        shared = [
            part * to_input(shares, x.shape)
            for part, (_, _, to_input) in zip(inputs, ctx.parts, strict=True)
        ]
        return sum(shared[1:], start=shared[0]), None, None, None, None


class FlatConvolution(Function):
    """Equal shares for the pixels under the kernel; the padding around the image gets none."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.layer, ctx.shape = layer, x.shape
        return layer(x)

    @staticmethod
    def backward(ctx, relevance):
        layer = ctx.layer
        how = (layer.stride, layer.padding, layer.dilation, layer.groups)
        ones = torch.ones_like(layer.weight)
        n_pixels = functional.conv2d(relevance.new_ones(1, *ctx.shape[1:]), ones, None, *how)
        return conv2d_input(ctx.shape, ones, relevance / n_pixels, *how), None


class ShippedBatchNorm(Function):
    """iNNvestigate's alpha 2 beta 1 on k x + b, x above 0 alone; its variance is squared."""

    @staticmethod
    def forward(ctx, x, layer):
        ctx.save_for_backward(x)
        ctx.layer = layer
        return layer(x)

    @staticmethod
    def backward(ctx, relevance):
        (x,) = ctx.saved_tensors
        x, layer = x.clamp(min=0), ctx.layer
        deviation = (layer.running_var**2 + layer.eps).sqrt()
        scale = layer.weight / deviation
        shift = layer.bias - layer.running_mean / deviation
        # A channel adds to the positive part (alpha) or to the negative one, by its scale's sign.
        rises = scale > 0
        shift = torch.where(rises, shift.clamp(min=0), shift.clamp(max=0))
        parts = torch.where(rises, 2 * scale, -scale)
        z = (x * scale[:, None, None]).add_(shift[:, None, None])
        return x.mul_(parts[:, None, None]).mul_(divide(relevance, z)), None


class InProportion(Function):
    """To each input what it adds to the output, which is linear in them."""

    @staticmethod
    def forward(ctx, operation, *inputs):
        ctx.save_for_backward(*inputs)
        ctx.operation = operation
        return operation(*inputs)

    @staticmethod
    def backward(ctx, relevance):
        inputs = [x.detach().requires_grad_() for x in ctx.saved_tensors]
        with torch.enable_grad():
            z = ctx.operation(*inputs)
        gradients = torch.autograd.grad(z, inputs, divide(relevance, z))
        return None, *(x.detach() * g for x, g in zip(inputs, gradients, strict=True))
