"""Training: the plain way against this workflow's, interleaved; seconds and ratios.

P4  a frozen phase: the net run in every epoch, or its features computed once.
P5  a training step at batches of 9 and 16: eager, then channels_last, lower precision, and, on a
    GPU, the step as a CUDA graph, in both layouts. One thread on a CPU.
P6  five nets: one after another, or five processes at once (on a GPU alone).

With --images an image set (.npy) of this workflow, else 64 images are drawn.
"""

import argparse
import copy
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import open_by_class, save_images
from cxr.data.phantoms import draw_frontal
from cxr.nets.devices import select_device, set_precision, side_stream
from cxr.nets.inputs import network_input
from cxr.nets.torch_nets import create, normalise
from cxr.training import loop
from cxr.training.sgd_step import GraphedStep, Step

SETTINGS = {
    "trainable": "output_layer", "frozen_batch_norm": "eval", "epochs": 10, "weight_decay": 0.01,
    "learning_rate": 0.001, "patience": 0, "momentum": 0.9, "batch_size": 9, "flip": False,
    "seed": 0, "precision": "fp32", "cuda_graph": True,
}  # fmt: skip


def main(images, size, architectures, epochs, repeats, nets_at_once):
    torch.set_num_threads(1)
    device = select_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, one thread"
    print(f"{name}; PyTorch {torch.__version__}; {size} pixels")
    with tempfile.TemporaryDirectory() as folder:
        data = open_by_class(images or draw_images(Path(folder), size), CLASSES)
        for architecture in architectures:
            measure_frozen_phase(architecture, data, device, epochs, repeats)
            for batch_size in (9, 16):
                measure_steps(architecture, data, device, batch_size, repeats)
    if device.type == "cuda":
        measure_nets_at_once(architectures[0], size, nets_at_once, device)
    else:
        print("P6 five nets on one GPU: not measured, there is none")


def draw_images(folder, size):
    rng = np.random.default_rng(0)
    pixels = np.stack([draw_frontal([], size, rng) for _ in range(64)])
    names = [f"{number}.png" for number in range(64)]
    table = pd.DataFrame({"image": names, "class": np.array(CLASSES)[np.arange(64) % 3]})
    save_images(folder / "drawn.npy", pixels, table)
    return folder / "drawn.npy"


def compare(title, ways, n, repeats, device):
    """Print the median milliseconds per image of each way, and its ratio to the first."""
    taken = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken[name].append((time.perf_counter() - start) / n * 1000)
    print(title)
    first = statistics.median(next(iter(taken.values())))
    for name, milliseconds in taken.items():
        median = statistics.median(milliseconds)
        print(
            f"  {name:28} {median:9.3f} ms  {1000 / median:8.1f} images/s  {first / median:6.2f}x"
        )


def measure_frozen_phase(architecture, data, device, epochs, repeats):
    torch.manual_seed(0)
    net = create(architecture, 3)
    settings = loop.Settings(**SETTINGS | {"epochs": epochs})
    found = {}

    def train(way):
        found[way], _ = loop.fit(copy.deepcopy(net), data, data, settings, device)

    def train_plainly():
        cached, loop.output_layer = loop.output_layer, lambda _: None
        try:
            train("plain")
        finally:
            loop.output_layer = cached

    ways = {"the net in every epoch": train_plainly, "features once": lambda: train("cached")}
    title = f"P4 {architecture}, output layer alone, {epochs} epochs, per image"
    compare(title, ways, len(data), repeats, device)
    equal = all(torch.equal(found["plain"][name], found["cached"][name]) for name in found["plain"])
    print(f"  weights {'equal to the bit' if equal else 'DIFFER'}")


def measure_steps(architecture, data, device, batch_size, repeats, n_steps=None):
    n_steps = n_steps or (100 if device.type == "cuda" else 2)
    pixels = torch.from_numpy(data.pixels(np.arange(batch_size))).to(device)
    labels = torch.from_numpy(data.labels[:batch_size]).to(device)
    losses = {}

    def way(name, kind=Step, layout=torch.channels_last, **options):
        torch.manual_seed(0)
        net = create(architecture, 3).to(device, memory_format=layout).train()
        prepare = normalise if layout == torch.contiguous_format else network_input
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
        if kind is GraphedStep:
            options |= {"net": net, "batch_size": batch_size}
        step = kind(lambda batch: net(prepare(batch)), optimizer, device, **options)

        def run():
            set_precision(options.get("precision", "fp32"))
            with side_stream(device):
                for _ in range(n_steps):
                    losses.setdefault(name, []).append(step(pixels, labels).clone())

        run()  # warm
        return run

    graph, nchw = {"kind": GraphedStep}, {"layout": torch.contiguous_format}
    kinds = {
        "eager": nchw,
        "channels_last": {},
        "bf16": {"precision": "bf16"},
    }
    if device.type == "cuda":
        kinds |= {
            "CUDA graph": graph,
            "CUDA graph, NCHW": graph | nchw,
            "CUDA graph, tf32": graph | {"precision": "tf32"},
            "CUDA graph, NCHW, tf32": graph | nchw | {"precision": "tf32"},
            "CUDA graph, bf16": graph | {"precision": "bf16"},
        }
    ways = {name: way(name, **options) for name, options in kinds.items()}
    title = f"P5 {architecture}, a training step of {batch_size}, per image"
    compare(title, ways, batch_size * n_steps, repeats, device)
    last = {name: float(values[n_steps - 1]) for name, values in losses.items()}
    print(f"  losses after {n_steps} steps: {last}")


def measure_nets_at_once(architecture, size, n, device):
    """n processes that train a net each on one GPU; images per second of all together."""
    words = [sys.executable, __file__, "--one-net", architecture, "--size", str(size)]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": visible_name(device)}
    for processes in (1, n):
        running = [
            subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(processes)
        ]
        rates = [last_number(process.communicate()[0]) for process in running]
        print(f"P6 {architecture}, {processes} at once: {sum(rates):.1f} images/s in all")


def visible_name(device):
    """What CUDA_VISIBLE_DEVICES calls a GPU."""
    number = device.index or 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",")[number] if visible else str(number)


def last_number(output):
    """The number in the last line of what a process printed; others say which device it took."""
    return float(output.splitlines()[-1])


def train_one_net(architecture, size, batch_size=9, seconds=20):
    device = select_device()
    net = create(architecture, 3).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-4, momentum=0.9)
    forward = lambda batch: net(network_input(batch))  # noqa: E731
    step = GraphedStep(forward, optimizer, device, net=net, batch_size=batch_size)
    pixels = torch.zeros(batch_size, size, size, dtype=torch.uint8, device=device)
    labels = torch.zeros(batch_size, 3, device=device)
    with side_stream(device):
        for _ in range(10):
            step(pixels, labels)
        torch.cuda.synchronize(device)
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            for _ in range(20):
                step(pixels, labels)
            torch.cuda.synchronize(device)
            n += 20 * batch_size
    print(n / (time.perf_counter() - start))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--images", type=Path, help="image set (.npy); default: drawn ones")
    arguments.add_argument("--size", type=int, default=224, help="of drawn images; default: 224")
    arguments.add_argument(
        "--architectures", nargs="+", default=["densenet201", "densenet121"], help="torchvision's"
    )
    arguments.add_argument("--epochs", type=int, default=10, help="of P4; default: 10")
    arguments.add_argument("--repeats", type=int, default=5, help="default: 5")
    arguments.add_argument("--nets-at-once", type=int, default=5, help="of P6; default: 5")
    arguments.add_argument("--one-net", metavar="ARCHITECTURE", help=argparse.SUPPRESS)
    chosen = vars(arguments.parse_args())
    if one_net := chosen.pop("one_net"):
        train_one_net(one_net, chosen["size"])
    else:
        main(**chosen)
