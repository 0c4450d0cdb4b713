"""Pickled DenseNets, read without running what they say: Zech's CheXNet, the authors' nets.

Zech's files of 2018 (torch 0.4, legacy layout) and of 2022 (zip layout) hold
{"model": DenseNet, ...}. torch's own weights_only reader refuses the modules of the legacy layout,
so the unpickler here looks up the names below and no others.
"""

import pickle
import pickletools
from types import SimpleNamespace

import torch

from cxr.nets.torch_nets import (
    NetError,
    check_state,
    create,
    damage_named,
    load_pickled,
    load_strictly,
    rename_dotted,
)
from cxr.nets.torchvision_models import models

_LAYERS = {
    "torch.nn.modules.activation": ["ReLU", "Sigmoid"],
    "torch.nn.modules.batchnorm": ["BatchNorm2d"],
    "torch.nn.modules.container": ["Sequential"],
    "torch.nn.modules.conv": ["Conv2d"],
    "torch.nn.modules.linear": ["Linear"],
    "torch.nn.modules.pooling": ["AvgPool2d", "MaxPool2d"],
    "torchvision.models.densenet": ["DenseNet", "_DenseBlock", "_DenseLayer", "_Transition"],
}
_TENSORS = {
    "collections": ["OrderedDict"],
    "torch": ["ByteStorage", "FloatStorage", "LongStorage", "device"],
    "torch._utils": ["_rebuild_parameter", "_rebuild_tensor", "_rebuild_tensor_v2"],
    "torch.nn.parameter": ["Parameter"],
}
_PYTHON = {"builtins": ["set"], "__builtin__": ["set"]}  # the second name is Python 2's
ALLOWED = {
    (module, name)
    for names in (_LAYERS, _TENSORS, _PYTHON)
    for module, listed in names.items()
    for name in listed
}


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler that can look up ALLOWED names alone, so that nothing else can be called."""

    def __init__(self, file, **options):
        super().__init__(file, **options)
        self._file = file

    def load(self):
        """Load the next pickle; UnpicklingError for one that would fill the memory with nothing.

        The unpickler keeps a list as long as the largest number of an object, and one flipped bit
        makes that 4 thousand million. Whole pickles number their objects from 0 on.
        """
        start = self._file.tell()
        for n, (operation, number, _) in enumerate(pickletools.genops(self._file)):
            if operation.name in ("PUT", "BINPUT", "LONG_BINPUT") and number > n:
                raise pickle.UnpicklingError(f"it numbers object {n} as {number}")
        self._file.seek(start)
        return super().load()

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no DenseNet needs")
        return super().find_class(module, name)


def _load(file, **options):
    return RestrictedUnpickler(file, **options).load()


# What torch.load takes for a pickle module.
_RESTRICTED_PICKLE = SimpleNamespace(__name__="pickle", Unpickler=RestrictedUnpickler, load=_load)


ARCHITECTURES = {1024: "densenet121", 1920: "densenet201"}  # by the inputs of the output layer


def load_densenet(path):
    """The DenseNet in a file, its sigmoid taken off, so that outputs are logits: (net, name).

    The file holds the module, {"model": module}, or the module's state dict. Raises NetError if it
    asks for anything that is not allowed, or does not fit.
    """
    content = load_pickled(path, weights_only=False, pickle_module=_RESTRICTED_PICKLE)
    if isinstance(content, dict) and "model" in content:
        content = content["model"]
    if isinstance(content, models.DenseNet):
        with damage_named(path):
            content = content.state_dict()
    # The classifier may be Sequential(Linear, Sigmoid): its first layer gives the logits.
    state = isinstance(content, dict) and {
        str(name).replace("classifier.0.", "classifier."): tensor
        for name, tensor in content.items()
    }
    head = state and state.get("classifier.weight")
    if not isinstance(head, torch.Tensor) or head.shape[-1] not in ARCHITECTURES:
        raise NetError(
            f"{path}: expected a DenseNet121 or 201 (the module, {{'model': module}} or its "
            f"weights), found {type(content).__name__}"
        )
    check_state(state, path)
    architecture = ARCHITECTURES[head.shape[-1]]
    net = create(architecture, len(head))
    load_strictly(net, rename_dotted(state), path)
    return net, architecture


def load_chexnet(path, outputs):
    """Zech's DenseNet121 with these outputs. Raises NetError if it has others."""
    net, architecture = load_densenet(path)
    n = net.classifier.out_features
    if (architecture, n) != ("densenet121", len(outputs)):
        raise NetError(
            f"{path}: expected a densenet121 with {len(outputs)} outputs, found a {architecture} "
            f"with {n}"
        )
    return net
