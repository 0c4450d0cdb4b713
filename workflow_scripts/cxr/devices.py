"""The device that a process computes on, and the arithmetic it uses there."""

import itertools
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cxr.logs import InputError

# fp32 is IEEE's; tf32 rounds the factors of products to 10 bits; bf16 computes in 8 bits what
# torch.autocast says.
PRECISIONS = ("fp32", "tf32", "bf16")

# Without it cuBLAS is not deterministic, and PyTorch refuses it; read when cuBLAS starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

_held = []  # locks on GPUs, until the process ends


def take_device(precision="fp32"):
    """The device to compute on, deterministically: a GPU if there is one, else the CPU.

    Of several GPUs, the one that the fewest processes of this user took on this machine: jobs
    that run side by side get one each, while there are enough.
    """
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # a kernel per tensor
    torch.backends.fp32_precision = "tf32" if precision == "tf32" else "ieee"
    device = _free_device()
    name = torch.cuda.get_device_properties(device).name if device.type == "cuda" else "no GPU"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    print(f"device: {device} ({name}), CUDA_VISIBLE_DEVICES={visible}", flush=True)
    return device


def _free_device():
    n = torch.cuda.device_count()
    if n < 2:
        return torch.device("cuda" if n else "cpu")
    for share in itertools.count():
        for number in range(n):
            if _lock(f"{torch.cuda.get_device_properties(number).uuid}-{share}"):
                torch.cuda.set_device(number)
                return torch.device("cuda", number)


def _lock(name):
    """Whether this process, first of all, now holds the lock of that name."""
    lock = FileLock(Path(tempfile.gettempdir()) / f"cxr-{os.getuid()}-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _held.append(lock)
    return True


def autocast(device, precision):
    """The context that a net's forward pass runs in."""
    return torch.autocast(
        device.type, torch.bfloat16, enabled=precision == "bf16", cache_enabled=False
    )


def side_stream(device):
    """The context that a net trains in: on a GPU a stream of its own, as CUDA graphs need."""
    return torch.cuda.stream(torch.cuda.Stream(device) if device.type == "cuda" else None)


@contextmanager
def memory_errors(what):
    """Turn a GPU's lack of memory into an InputError that says what to lower."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        found = ". ".join(str(error).split(". ")[:2])
        raise InputError(
            f"{what}: {found}; let fewer nets share the GPU (--resources gpu=1), take a larger "
            "one, training.precision bf16 or, other than the paper, a smaller batch_size"
        ) from error
