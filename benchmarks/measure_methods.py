"""CPU seconds an image of each method of heatmaps, and of a prediction with patches removed.

Random weights; a batch of --images at once, the median of --repeats runs after one to warm up.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.append(str(Path(__file__).parents[1] / "workflow_scripts"))
from cxr.lrp.methods import METHODS, heatmaps
from cxr.nets.inputs import network_input
from cxr.nets.torch_nets import create


def seconds(function, repeats):
    """Median CPU seconds of a call."""
    function()
    found = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        found.append(time.process_time() - start)
    return float(np.median(found))


def measure(architecture, size, images, repeats):
    torch.set_num_threads(1)
    torch.manual_seed(0)
    net, cpu = create(architecture, 3).eval(), torch.device("cpu")
    pixels = np.random.default_rng(0).integers(0, 255, (images, size, size), dtype=np.uint8)
    outputs = np.zeros(images, int)
    for name in METHODS:
        took = seconds(lambda name=name: heatmaps(net, pixels, outputs, [name], cpu), repeats)
        print(f"{architecture}, {size}, {METHODS[name].title}: {took / images:.2g} s", flush=True)
    inputs = network_input(torch.from_numpy(np.repeat(pixels, 64 // images, axis=0)))
    with torch.no_grad():
        took = seconds(lambda: net(inputs), repeats)
    print(f"{architecture}, {size}, one prediction: {took / len(inputs):.2g} s")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--architecture", default="densenet201")
    arguments.add_argument("--size", type=int, default=224, help="pixels")
    arguments.add_argument("--images", type=int, default=4)
    arguments.add_argument("--repeats", type=int, default=1)
    measure(**vars(arguments.parse_args()))
