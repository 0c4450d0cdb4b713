"""Zech's CheXNet checkpoints: a whole pickled DenseNet121, read without running what it says.

The files of 2018 (torch 0.4) and 2022 hold {"model": DenseNet, ...}. torch's restricted unpickler
reads them with the classes below allowed and nothing else.
"""

import pickle

import torch
from torch import nn
from torchvision.models import densenet

from cxr.nets import NetError, create, load_strictly, rename_dotted

ALLOWED = (
    densenet.DenseNet,
    densenet._DenseBlock,
    densenet._DenseLayer,
    densenet._Transition,
    nn.AvgPool2d,
    nn.BatchNorm2d,
    nn.Conv2d,
    nn.Linear,
    nn.MaxPool2d,
    nn.ReLU,
    nn.Sequential,
    nn.Sigmoid,
    set,
)


def load_chexnet(path, outputs):
    """The checkpoint's DenseNet121 with its sigmoid taken off: outputs are logits.

    Raises NetError if the file asks for anything that is not allowed, or does not fit.
    """
    try:
        with torch.serialization.safe_globals(list(ALLOWED)):
            checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise NetError(f"{path}: refused: {str(error).splitlines()[0]}") from error
    if not isinstance(checkpoint, dict) or not isinstance(
        checkpoint.get("model"), densenet.DenseNet
    ):
        raise NetError(f"{path}: expected {{'model': DenseNet, ...}}, as in reproduce-chexnet")
    state = rename_dotted(checkpoint["model"].state_dict())
    # The classifier is Sequential(Linear, Sigmoid); the linear layer is the one with logits.
    state = {name.replace("classifier.0.", "classifier."): value for name, value in state.items()}
    net = create("densenet121", len(outputs))
    load_strictly(net, state, path)
    return net
