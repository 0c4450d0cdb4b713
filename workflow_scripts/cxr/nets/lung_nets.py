"""U-Nets that find lungs: grey radiographs in, a logit per pixel out."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open
from scipy import ndimage

from cxr.data.images import to_square
from cxr.nets.descriptions import NetError, read_description
from cxr.nets.torch_nets import damage_named, load_strictly

OUTPUTS = ["lungs"]
BATCH = 32  # images


def create(encoder):
    """A U-Net with random weights. encoder: one of segmentation-models-pytorch.

    Raises NetError if there is no such encoder.
    """
    import segmentation_models_pytorch as smp  # half a second, and few steps need it

    options = {"encoder_weights": None, "in_channels": 1, "decoder_channels": (64, 48, 32, 16, 8)}
    try:
        return smp.Unet(encoder, **options)
    except (KeyError, RuntimeError) as error:
        raise NetError(f"encoder {encoder!r}: segmentation-models-pytorch has none") from error


def network_input(pixels, device):
    """uint8 (n, s, s) as float32 (n, 1, s, s), each image of mean 0 and standard deviation 1."""
    values = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).unsqueeze(1).float()
    mean, deviation = values.mean((1, 2, 3), keepdim=True), values.std((1, 2, 3), keepdim=True)
    return (values - mean) / (deviation + 1)


def load_lung_net(path):
    """(net in eval mode, its image size) as train_lungs wrote it; path: the file, or its folder.

    Raises NetError for a net of another kind, and InputError where the file is damaged.
    """
    path = Path(path) / "net.safetensors" if Path(path).is_dir() else Path(path)
    description = read_description(path)
    if description["outputs"] != OUTPUTS:
        raise NetError(
            f"{path}: found a net with the outputs {description['outputs']}, expected one that "
            "finds lungs: results/lungs/net.safetensors"
        )
    net = create(description["architecture"])
    with damage_named(path), safe_open(path, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}
    load_strictly(net, state, path)
    return net.eval(), description["image_size"]


@torch.no_grad()
def lung_chances(net, pixels, device):
    """Chance that a pixel is of lungs, float32 (n, s, s), of images, uint8 (n, s, s).

    The mean of what the net says of an image and of its mirror image.
    """
    images = network_input(pixels, device)
    chances = net(images).sigmoid() + net(images.flip(-1)).sigmoid().flip(-1)
    return chances[:, 0].cpu().numpy() / 2


def find_lungs(net, size, pictures, device):
    """Yield the lungs in each of many grey PIL images, or uint8 (h, w), as bool (h, w).

    net, size: of load_lung_net. Only the two largest parts count, and their holes are filled.
    """
    for start in range(0, len(pictures), BATCH):
        part = [as_picture(picture) for picture in pictures[start : start + BATCH]]
        squares = np.stack([to_square(picture, size) for picture in part])
        for picture, chances in zip(part, lung_chances(net, squares, device), strict=True):
            yield outline(chances, picture.size)


def as_picture(picture):
    """A PIL image, also of uint8 (h, w)."""
    return Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture


def outline(chances, size):
    """Lungs, bool (height, width), of chances, float32 (s, s). size: width and height."""
    inside = chances >= 0.5
    parts, n = ndimage.label(inside)
    areas = np.bincount(parts.ravel(), minlength=n + 1)[1:]
    largest = np.isin(parts, 1 + np.argsort(-areas, kind="stable")[:2])
    chances = np.where(ndimage.binary_fill_holes(largest) & ~largest, 1, chances)
    chances = np.where(inside & ~largest, 0, chances).astype(np.float32)
    grown = Image.fromarray(chances).resize(size, Image.Resampling.BILINEAR)
    return np.asarray(grown) >= 0.5
