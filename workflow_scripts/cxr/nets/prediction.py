"""What a net says of images, and how far that is from their labels."""

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.nets.devices import OTHERWISE, memory_errors
from cxr.nets.inputs import Pixels, network_input

EVALUATION_BATCH = {"cpu": 32, "cuda": 256}  # images


def predict_logits(net, images, device):
    """Logits, float32 (n, outputs), of all images in order; net is put on device, in eval mode.

    Raises InputError where a GPU has too little memory.
    """
    net.to(device, memory_format=torch.channels_last).eval()
    pixels, indices = Pixels(images, device, keep=False), np.arange(len(images))
    with memory_errors(f"{EVALUATION_BATCH[device.type]} images at once", OTHERWISE):
        return predict(lambda batch: net(network_input(batch)), pixels, indices, device)


@torch.no_grad()
def predict(forward, inputs, indices, device):
    """Logits, float32 (n, outputs), of the inputs at indices, in order."""
    size = EVALUATION_BATCH[device.type]
    split = np.split(indices, range(size, len(indices), size))
    return torch.cat([forward(inputs(batch)).float() for batch in split]).cpu().numpy()


def mean_loss(logits, labels):
    """Mean binary cross entropy of logits and 0/1 labels, both (n, outputs)."""
    return binary_cross_entropy_with_logits(
        torch.from_numpy(logits).double(), torch.from_numpy(labels).double()
    ).item()


def accuracy(logits, labels):
    """Share of right decisions: argmax where each image has one label, else label by label."""
    if (labels.sum(axis=1) == 1).all():
        return float((logits.argmax(axis=1) == labels.argmax(axis=1)).mean())
    return float(((logits > 0) == (labels > 0)).mean())
