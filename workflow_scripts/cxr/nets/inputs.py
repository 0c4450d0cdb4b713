"""Images as a net's inputs: batch by batch, on the device."""

import numpy as np
import torch

from cxr.cli import progress
from cxr.nets.torch_nets import normalise, output_layer

CHUNK = 4096  # images copied to the device at once


class Pixels:
    """Images as uint8 (n, h, w) on the device.

    On a GPU they are copied there once if that takes at most half of its free memory (ChestX-ray14
    is 5.6 GB); else each batch is read from the memory-mapped arrays. keep overrides the choice.
    """

    def __init__(self, images, device, keep=None):
        self.images, self.device, self.kept = images, device, None
        if fits(images, device) if keep is None else keep:
            self.kept = torch.empty((len(images), *images.shape), dtype=torch.uint8, device=device)
            indices = np.arange(len(images))
            for chunk in progress(np.split(indices, indices[CHUNK::CHUNK]), "images"):
                self.kept[chunk[0] : chunk[-1] + 1] = torch.from_numpy(images.pixels(chunk))

    def __call__(self, indices, flipped=None):
        """The images at indices, int (n,); those flipped, bool (n,), are mirrored."""
        if self.kept is None:
            pixels = to_device(self.images.pixels(indices), self.device)
        else:
            pixels = self.kept[to_device(indices, self.device)]
        if flipped is None or not flipped.any():
            return pixels
        flipped = to_device(flipped, self.device)[:, None, None]
        return torch.where(flipped, pixels.flip(-1), pixels)


def fits(images, device):
    """Whether the device is a GPU with room for the images."""
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return len(images) * np.prod(images.shape) <= free / 2


class CachedFeatures:
    """Images as inputs of a frozen net's output layer, (n, features), computed once.

    With flip, the features of the mirrored images are kept, too.
    """

    @torch.no_grad()
    def __init__(self, net, images, device, batch_size, flip=False):
        net.eval()
        found = []
        hook = output_layer(net).register_forward_pre_hook(
            lambda _layer, inputs: found.append(inputs[0])
        )
        pixels = Pixels(images, device)
        self.device, self.features = device, []
        for mirrored in (False, True) if flip else (False,):
            found.clear()
            for batch in progress(batches(np.arange(len(images)), batch_size), "features"):
                net(network_input(pixels(batch, np.full(len(batch), mirrored))))
            self.features.append(torch.cat(found))
        hook.remove()

    def __call__(self, indices, flipped=None):
        indices = to_device(indices, self.device)
        features = self.features[0][indices]
        if flipped is None or not flipped.any():
            return features
        flipped = to_device(flipped, self.device)[:, None]
        return torch.where(flipped, self.features[1][indices], features)


def to_device(array, device):
    """A copy of a NumPy array on the device; the host doesn't wait for it."""
    return torch.from_numpy(array).to(device, non_blocking=True)


def batches(indices, size):
    """Cut indices into runs of at most size; a last run of one joins the one before it.

    Batch norm has no statistics of a single value: a batch of one fails on 1 x 1 feature maps.
    """
    cuts = list(range(size, len(indices), size))
    if cuts and len(indices) - cuts[-1] == 1:
        cuts.pop()
    return np.split(indices, cuts)


def network_input(pixels):
    """uint8 (n, h, w) -> normalised float32 (n, 3, h, w) on the same device."""
    return normalise(pixels).contiguous(memory_format=torch.channels_last)
