"""Check a machine before a study: what it has, whether its results can be trusted, how fast it is.

Runs for some minutes where nets are to be trained, on drawn images. Writes JSON:

found: host, GPU, driver, compute capability, PyTorch's build, Python;
trust: by check, `yes` or what differs: a training repeated gives the same bits; its CUDA graph the
  eager bits; a training that was stopped and resumed the same bits; LRP on a GPU agrees with the
  CPU;
speed: for each net that --nets names, images per second by way, and the peak memory in GB;
shared: images per second of several processes at once on a GPU, all together.

--hold keeps a lock on a file meanwhile, for check_sources to see whether locks reach it.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np
import torch
from cxr.cli import parser, progress, user_errors
from cxr.data.image_sets import LabelledImages
from cxr.files import write_file
from cxr.lrp.pytorch import rank_correlations, relevance_maps
from cxr.nets.descriptions import NetError
from cxr.nets.devices import driver_s_gpus, select_device
from cxr.nets.torch_nets import create
from cxr.training import loop
from cxr.training.resume import ResumeFile, Stopped
from cxr.training.sgd_step import same_bits
from cxr.training.speed import images_per_second, new_training
from filelock import FileLock

SMALL = 64  # pixels, of images that trust is checked on
LEAST_CORRELATION = 0.99  # of heatmaps on GPU and CPU
WAYS = {"eager": ("fp32", False)}
WAYS_ON_GPU = {"graph": ("fp32", True), "graph tf32": ("tf32", True), "graph bf16": ("bf16", True)}


def check_machine(nets, size, seconds, settings, hold, out):
    device = select_device()
    with held(hold) if hold else nullcontext():
        ways = WAYS | (WAYS_ON_GPU if device.type == "cuda" else {})
        speed = []
        for architecture, n_outputs, batch_size in progress(nets, "nets"):
            arguments = (architecture, n_outputs, batch_size, size, device)
            rates = {name: rate(*arguments, *way, seconds) for name, way in ways.items()}
            net = {"architecture": architecture, "batch_size": batch_size}
            speed.append(net | rates | {"memory_gb": peak_memory(device)})
        checked = {
            "found": found(device),
            "trust": trust(nets[0][0], loop.Settings(**settings), device),
            "speed": speed,
            "shared": shared(*nets[0], size, seconds) if device.type == "cuda" else {},
        }
    write_file(out, json.dumps(checked, indent=1) + "\n")


@contextmanager
def held(path):
    """Hold a lock, and say so in a file beside it."""
    sign = Path(f"{path}.held")
    with FileLock(path):
        sign.touch()
        try:
            yield
        finally:
            sign.unlink()


def found(device):
    """What this machine has."""
    about = {
        "host": platform.node(),
        "Python": platform.python_version(),
        "PyTorch": f"{torch.__version__}, built for CUDA {torch.version.cuda}",
        "GPU": "none: nets train on the CPU",
        "driver": "; ".join(sorted(set(driver_s_gpus()))) or "none",
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        memory = f"{gpu.total_memory / 2**30:.0f} GiB"
        about["GPU"] = f"{gpu.name}, compute capability {gpu.major}.{gpu.minor}, {memory}"
    return about


def rate(architecture, n_outputs, batch_size, size, device, precision, graph, seconds):
    """Images per second of a way to train."""
    run = new_training(architecture, n_outputs, batch_size, size, device, precision, graph)
    return round(images_per_second(run, batch_size, seconds), 2)


def peak_memory(device):
    """Peak memory in GB so far: the GPU's, or the process's."""
    if device.type == "cuda":
        return round(torch.cuda.max_memory_reserved(device) / 1e9, 2)
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6, 2)


def shared(architecture, n_outputs, batch_size, size, seconds):
    """{number of processes: images per second of all together} on one GPU."""
    words = [sys.executable, __file__, "--one-net", json.dumps([architecture, n_outputs])]
    words += ["--batch-size", batch_size, "--size", size, "--seconds", seconds]
    rates = {}
    for n in (1, 2, 5):
        running = [
            subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, text=True)
            for _ in range(n)
        ]
        last = [process.communicate()[0].splitlines()[-1] for process in running]
        rates[n] = round(sum(map(float, last)), 2)
    return rates


# Trust


def trust(architecture, settings, device):
    """{check: `yes`, or what differs}."""
    data = draw_images()
    first = train(architecture, data, settings, device)
    return {
        "repeated: same bits": same(first, train(architecture, data, settings, device)),
        "CUDA graph: the eager bits": graph_check(architecture, data, settings, device, first),
        "stopped and resumed: same bits": same(
            first, resumed(architecture, data, settings, device)
        ),
        "LRP: as on the CPU": lrp_check(architecture, data, device),
    }


def draw_images(n=8):
    """Random images with labels."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (n, SMALL, SMALL)).astype(np.uint8)
    labels = np.eye(3, dtype=np.float32)[np.arange(n) % 3]
    names = np.array([str(number) for number in range(n)])
    return LabelledImages([pixels], np.zeros(n, int), np.arange(n), labels, list("abc"), names)


def train(architecture, data, settings, device, resume=None):
    """Weights after two epochs."""
    torch.manual_seed(0)
    return loop.fit(create(architecture, 3), data, data, settings, device, resume)[0]


def same(one, other):
    """`yes` if two nets have the same bits, else how many tensors differ."""
    differing = sum(not same_bits(one[name], other[name]) for name in one)
    return f"no: {differing} of {len(one)} tensors differ" if differing else "yes"


def graph_check(architecture, data, settings, device, graphed):
    """Whether a training without the graph has the same bits."""
    if device.type != "cuda":
        return "no GPU"
    eager = loop.Settings(**vars(settings) | {"cuda_graph": False})
    return same(graphed, train(architecture, data, eager, device))


def resumed(architecture, data, settings, device):
    """Weights of a training that is stopped after its first batches and started again."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ".resume"
        with ResumeFile(path, "preflight", every=0) as resume:
            resume.told_to_stop = True
            try:
                train(architecture, data, settings, device, resume)
            except Stopped:
                pass
        with ResumeFile(path, "preflight") as resume:
            return train(architecture, data, settings, device, resume)


def lrp_check(architecture, data, device):
    """Whether heatmaps are those of the CPU in float64."""
    torch.manual_seed(0)
    net, pixels = create(architecture, 3), data.pixels(np.arange(4))
    method = "preset_a_flat_conserving"
    given = (pixels, [0] * len(pixels), [method])
    try:
        here = relevance_maps(net, *given, device)[method][0]
    except NetError as error:
        return f"no heatmaps: {error}"
    there = relevance_maps(net, *given, torch.device("cpu"), torch.float64)[method][0]
    least = float(rank_correlations(here, there).min())
    return "yes" if least >= LEAST_CORRELATION else f"no: rank correlation {least:.4f}"


def one_net(architecture, n_outputs, batch_size, size, seconds):
    """Print the images per second of one process."""
    device = select_device()
    print(rate(architecture, n_outputs, batch_size, size, device, "fp32", True, seconds))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=json.loads, help="JSON: [[architecture, number of outputs, batch size]]"
    )
    arguments.add_argument("--size", type=int, required=True, help="of images, in pixels")
    arguments.add_argument("--seconds", type=float, default=5, help="per measurement; default: 5")
    arguments.add_argument("--settings", type=json.loads, help="JSON: a phase, to check trust with")
    arguments.add_argument("--hold", type=Path, help="file to lock meanwhile")
    arguments.add_argument("--out", type=Path, help="JSON to write")
    arguments.add_argument("--one-net", type=json.loads, help=argparse.SUPPRESS)
    arguments.add_argument("--batch-size", type=int, help=argparse.SUPPRESS)
    chosen = vars(arguments.parse_args())
    one, batch_size = chosen.pop("one_net"), chosen.pop("batch_size")
    with user_errors():
        if one:
            one_net(*one, batch_size, chosen["size"], chosen["seconds"])
        else:
            check_machine(**chosen)
