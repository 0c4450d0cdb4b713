"""Zech's CheXNet checkpoints: a whole pickled DenseNet121, read without running what it says.

The files of 2018 (torch 0.4, legacy layout) and of 2022 (zip layout) hold {"model": DenseNet, ...}.
torch's own weights_only reader refuses the modules of the legacy layout, so the unpickler here
looks up the names below and no others.
"""

import pickle
from types import SimpleNamespace

import torch
from torchvision.models import densenet

from cxr.nets import NetError, create, load_strictly, rename_dotted

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

    def find_class(self, module, name):
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no DenseNet needs")
        return super().find_class(module, name)


def _load(file, **options):
    return RestrictedUnpickler(file, **options).load()


# What torch.load takes for a pickle module.
_RESTRICTED_PICKLE = SimpleNamespace(__name__="pickle", Unpickler=RestrictedUnpickler, load=_load)


def load_chexnet(path, outputs):
    """The checkpoint's DenseNet121 with its sigmoid taken off: outputs are logits.

    Raises NetError if the file asks for anything that is not allowed, or does not fit.
    """
    try:
        checkpoint = torch.load(
            path, map_location="cpu", weights_only=False, pickle_module=_RESTRICTED_PICKLE
        )
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise NetError(f"{path}: refused: {str(error).splitlines()[0]}") from error
    net = checkpoint.get("model") if isinstance(checkpoint, dict) else None
    if not isinstance(net, densenet.DenseNet):
        raise NetError(f"{path}: expected {{'model': DenseNet, ...}}, as in reproduce-chexnet")
    # The classifier is Sequential(Linear, Sigmoid): its first layer gives the logits.
    state = {
        name.replace("classifier.0.", "classifier."): tensor
        for name, tensor in rename_dotted(net.state_dict()).items()
    }
    net = create("densenet121", len(outputs))
    load_strictly(net, state, path)
    return net
