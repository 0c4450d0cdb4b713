"""Trainings that take seconds, for the tests of training, steps and resuming."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.data.image_sets import open_by_class, save_images
from cxr.nets.torch_nets import create, save_net
from cxr.training.loop import Settings, fit

SCRIPT = Path(__file__).parent.parent / "workflow_scripts" / "train_phase.py"
CLASSES = ["normal", "viral_pneumonia", "covid19"]
CPU = torch.device("cpu")
SETTINGS = {
    "trainable": "all", "frozen_batch_norm": "eval", "epochs": 2, "learning_rate": 0.01,
    "weight_decay": 0.01, "patience": 0, "momentum": 0.9, "batch_size": 9, "flip": False,
    "seed": 0, "precision": "fp32", "cuda_graph": False,
}  # fmt: skip


def draw_images(folder, n):
    """An image set of n noisy images, 32 x 32, whose class is their brightness."""
    rng = np.random.default_rng(0)
    classes = np.arange(n) % 3
    pixels = (classes[:, None, None] * 70 + rng.integers(0, 40, (n, 32, 32))).astype(np.uint8)
    table = pd.DataFrame(
        {"image": [f"{number}.png" for number in range(n)], "class": np.array(CLASSES)[classes]}
    )
    save_images(folder / "train.npy", pixels, table)
    return folder / "train.npy"


def new_net(architecture, seed=0):
    torch.manual_seed(seed)
    return create(architecture, 3)


def train(images, architecture="resnet18", device=CPU, resume=None, net=None, **changes):
    """Train a net of seed 0 on images, which validate it too: (state, history)."""
    data = open_by_class(images, CLASSES)
    settings = Settings(**SETTINGS | changes)
    net = net or new_net(architecture)
    return fit(net, data, data, settings, device, resume)


def save_start(folder, architecture="squeezenet1_1"):
    description = {"architecture": architecture, "outputs": CLASSES, "image_size": 32}
    save_net(folder / "start.safetensors", new_net(architecture), description)
    return folder / "start.safetensors"


def command(images, start, folder, **changes):
    """The command line of train_phase.py that trains into a folder."""
    data, words = [images, images.with_suffix(".csv")], []
    for name, value in (SETTINGS | changes).items():
        option = f"--{name.replace('_', '-')}"
        words += [option] * value if isinstance(value, bool) else [option, str(value)]
    return [
        sys.executable, str(SCRIPT), "--start", start, "--train", *data, "--val", *data,
        "--checkpoint", folder / "checkpoint.safetensors", "--history", folder / "history.csv",
        "--save-every", "0.2", *words,
    ]  # fmt: skip
