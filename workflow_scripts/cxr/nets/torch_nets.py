"""The nets: torchvision classifiers whose output neurons have names.

A net is stored as safetensors: the state dict, and one metadata entry `net`, a JSON description
(architecture, outputs in order, ...). Nothing is pickled.
"""

import json
import re
import zipfile
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from cxr.checksums import sha256_of
from cxr.contents import ZIP, refuse_other, what_is
from cxr.data.images import IMAGENET_MEAN, IMAGENET_STD
from cxr.files import write_file
from cxr.nets.descriptions import NetError, read_description
from cxr.nets.torchvision_models import models


def create(architecture, n_outputs):
    """A torchvision classifier with random weights and n_outputs output neurons."""
    if architecture not in models.list_models(module=models):
        raise NetError(f"architecture {architecture!r}: torchvision has no such classifier")
    return models.get_model(architecture, weights=None, num_classes=n_outputs)


def output_layer_name(net):
    """Name of the layer that holds the output neurons: the last Linear or Conv2d."""
    layers = [
        name for name, layer in net.named_modules() if isinstance(layer, nn.Linear | nn.Conv2d)
    ]
    return layers[-1]


def output_layer(net):
    """The layer that holds the output neurons."""
    return net.get_submodule(output_layer_name(net))


def keep_output_neurons(net, source, outputs, source_outputs, keep):
    """Copy all layers of source into net but the output layer's; of that, the kept neurons.

    keep maps an output of net to the output of source whose weights and bias it takes over
    (section 3.2 of the paper); the other output neurons keep their random start.
    Raises NetError if a name is unknown or the two nets differ below the output layer.
    """
    for new, old in keep.items():
        if new not in outputs:
            raise NetError(f"keep_output_neurons: no output {new!r}; the net has {outputs}")
        if old not in source_outputs:
            raise NetError(
                f"keep_output_neurons: the source has no output {old!r}, only {source_outputs}"
            )
    head = output_layer_name(net)
    state, weights = net.state_dict(), source.state_dict()
    if state.keys() != weights.keys():
        raise NetError("the source's layers differ from the net's; is it another architecture?")
    for name, tensor in weights.items():
        if name.startswith(f"{head}."):
            for new, old in keep.items():
                state[name][outputs.index(new)] = tensor[source_outputs.index(old)]
        else:
            state[name].copy_(tensor)
    net.load_state_dict(state)
    return net


def freeze_all_but_output_layer(net):
    """Make the output layer's parameters the only trainable ones."""
    net.requires_grad_(False)
    output_layer(net).requires_grad_(True)


def normalise(pixels):
    """uint8 (n, h, w) -> float32 (n, 3, h, w), ImageNet statistics, on the pixels' device."""
    mean, std = _statistics(pixels.device)
    return (pixels.unsqueeze(1).float() / 255 - mean) / std


@cache
def _statistics(device):
    """ImageNet's mean and standard deviation, (1, 3, 1, 1): copied to a device once."""
    return [
        torch.from_numpy(values).to(device).view(1, 3, 1, 1)
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    ]


def save_net(path, net, description):
    """Write net's weights and description; the file appears whole or not at all."""
    tensors = {
        name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()
    }
    # One metadata key: safetensors writes several in no fixed order, and bytes should be equal.
    write_file(path, save(tensors, metadata={"net": json.dumps(description, sort_keys=True)}))


class NoRandomWeights(TorchFunctionMode):
    """Leaves new weights as they are, as on the meta device sampling imports PyTorch's compiler."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in (torch.Tensor.normal_, torch.Tensor.uniform_):
            return args[0]
        if getattr(function, "__module__", "") == nn.init.__name__:  # samples, unseen by a mode
            return kwargs["tensor"]
        return function(*args, **(kwargs or {}))


def load_net(path):
    """Load a stored net: (net in eval mode, description). Raises NetError on a mismatch.

    Pooling that changes nothing at the net's image size is left out: see check_differentiable.
    """
    description = read_description(path)
    new = partial(create, description["architecture"], len(description["outputs"]))
    try:
        with torch.device("meta"), NoRandomWeights():  # the stored ones would replace them
            net = new()
    except NotImplementedError:  # RegNets' widths are computed with tensors
        net = new()
    except NetError as error:
        raise NetError(f"{path}: {error}") from error
    with damage_named(path), safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
    load_strictly(net, state, Path(path))
    drop_idle_pooling(net.eval(), description["image_size"])
    return net, description


@torch.no_grad()
def drop_idle_pooling(net, image_size):
    """Take out of net, in eval mode, adaptive pooling whose inputs have the size of its outputs."""
    sizes = {}
    hooks = [
        layer.register_forward_hook(
            lambda _layer, inputs, output, name=name: sizes.update({name: (inputs[0], output)})
        )
        for name, layer in adaptive_pooling(net).items()
    ]
    if hooks:
        net(torch.zeros(1, 3, image_size, image_size))
    for hook in hooks:
        hook.remove()
    for name, (before, after) in sizes.items():
        if before.shape == after.shape:
            net.set_submodule(name, nn.Identity())


def adaptive_pooling(net):
    """By name, the layers that pool to more than one value a channel: VGG's and AlexNet's."""
    return {
        name: layer
        for name, layer in net.named_modules()
        if isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size not in (1, (1, 1))
    }


def check_differentiable(net, device):
    """Raise NetError if the net's backward pass is not deterministic on the device.

    Of what torchvision's classifiers do, PyTorch has no such pass on GPUs for adaptive pooling.
    """
    if device.type == "cuda" and (names := list(adaptive_pooling(net))):
        raise NetError(
            f"{type(net).__name__}: its layer {names[0]} has no deterministic backward pass on a "
            'GPU at this image_size; take 224, or CUDA_VISIBLE_DEVICES="" for the CPU'
        )


def load_strictly(net, state, path):
    """Load a state dict that has to fit to the last tensor; NetError names what doesn't."""
    types = {name: tensor.dtype for name, tensor in net.state_dict().items()}
    for name, tensor in state.items():
        if tensor.is_floating_point() != types.get(name, tensor.dtype).is_floating_point:
            raise NetError(f"{path}: {name} is of {tensor.dtype}, expected {types[name]}")
        if not tensor.isfinite().all():
            raise NetError(
                f"{path}: {name} holds values that are no finite numbers; the file is damaged, or "
                "its training failed"
            )
    state = {
        name: tensor.to(types.get(name, tensor.dtype), copy=True) for name, tensor in state.items()
    }
    try:
        net.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise NetError(f"{path}: {' '.join(str(error).split())[:300]}") from error


@contextmanager
def damage_named(path):
    """Turn whatever reading a damaged checkpoint raises into a NetError that names the file."""
    try:
        yield
    except NetError:
        raise
    # A pickle is a program: its damaged bytes raise any exception that there is.
    except Exception as error:
        said = next(iter(str(error).splitlines()), "")[:200]
        if "weights_only" in said:  # torch's advice to load it without its checks
            said = "no pickle of tensors"
        raise NetError(
            f"{path}: found a cut or damaged checkpoint ({type(error).__name__}: {said}); "
            "get it again: the configuration's sources name where from, and its sum"
        ) from error


def load_pickled(path, **options):
    """What torch.load finds in a checkpoint (.pth, .pt), on the CPU; options: torch.load's.

    Raises InputError, in one line, for a file that is cut, damaged or something else. The sums
    inside a zip layout, which torch doesn't look at, are checked; older layouts have none.
    """
    refuse_other(path, "a PyTorch checkpoint")
    with damage_named(path):
        if what_is(path) == ZIP:
            with zipfile.ZipFile(path) as members:
                if bad := members.testzip():
                    raise NetError(f"{path}: found a damaged checkpoint: wrong sum of {bad}")
        return torch.load(path, map_location="cpu", **options)


def check_named_sum(path):
    """Raise NetError if a file NAME-SUM.pth, as torchvision calls its weights, has another sum."""
    named = re.fullmatch(r".+-([0-9a-f]{8,64})", Path(path).stem)
    if named:
        found = sha256_of(path)
        if not found.startswith(named[1]):
            raise NetError(
                f"{path}: its sha256 is {found}, expected {named[1]}... by its name; the file is "
                "damaged: download it again"
            )


def check_state(content, path):
    """Raise NetError unless content is a state dict: names and tensors."""
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in content.items()
    ):
        raise NetError(f"{path}: found a {type(content).__name__}, expected a dict of tensors")


# torchvision's and Zech's DenseNet files have dots inside the names of a dense layer's parts.
_DOTTED = re.compile(
    r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$"
)


def rename_dotted(state):
    """A DenseNet's state dict with today's names: `norm.1.weight` becomes `norm1.weight`."""
    return {_DOTTED.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def load_imagenet(path, architecture):
    """torchvision's ImageNet weights (1000 outputs) from the .pth file at path."""
    with torch.device("meta"):
        net = create(architecture, 1000)
    state = load_pickled(path, weights_only=True)
    check_named_sum(path)
    check_state(state, path)
    load_strictly(net, rename_dotted(state), path)
    return net
