"""How fast a device trains a net: steps of SGD on random images."""

import time

import numpy as np
import torch

from cxr.nets.devices import set_precision, side_stream
from cxr.nets.inputs import network_input
from cxr.nets.torch_nets import create, normalise
from cxr.training.sgd_step import SGD, GraphedStep, Step


def new_training(architecture, n_outputs, batch_size, size, device, precision, graph, nchw=False):
    """A function that trains for a number of steps on one batch and waits for their end.

    It returns the loss after the last. size: pixels, width and height. graph: as a CUDA graph.
    """
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (batch_size, size, size), dtype=np.uint8))
    labels = torch.from_numpy(rng.integers(0, 2, (batch_size, n_outputs)).astype(np.float32))
    pixels, labels = pixels.to(device), labels.to(device)
    layout = torch.contiguous_format if nchw else torch.channels_last
    net = create(architecture, n_outputs).to(device, memory_format=layout).train()
    optimizer = SGD(net.parameters(), lr=1e-4, momentum=0.9)
    prepare = normalise if nchw else network_input
    kind, options = Step, {"precision": precision}
    if graph:
        kind, options = GraphedStep, options | {"net": net, "batch_size": batch_size}
    step = kind(lambda batch: net(prepare(batch)), optimizer, device, **options)

    def run(n_steps):
        set_precision(precision)
        with side_stream(device):
            for _ in range(n_steps):
                loss = step(pixels, labels)
        return float(loss)

    return run


def images_per_second(run, batch_size, seconds):
    """The rate of new_training's function over at least so many seconds, after a warm-up."""
    run(GraphedStep.WARM_UP + 1)
    started, n = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        run(1)
        n += batch_size
    return n / (time.perf_counter() - started)
