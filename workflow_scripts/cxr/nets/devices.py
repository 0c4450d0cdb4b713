"""The device that a process computes on, and the arithmetic it uses there."""

import itertools
import os
import re
import subprocess
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cxr.cli import InputError

# fp32 is IEEE's; tf32 rounds the factors of products to 10 bits; bf16 computes in 8 bits what
# torch.autocast says.
PRECISIONS = ("fp32", "tf32", "bf16")

# Without it cuBLAS is not deterministic, and PyTorch refuses it; read when cuBLAS starts.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

# The variables that give GPUs to a process, and values of them that give none.
GIVEN_BY = ("CUDA_VISIBLE_DEVICES", "SLURM_STEP_GPUS", "SLURM_JOB_GPUS")
NO_GPUS = ("", "-1", "NoDevFiles")
GPU_IS_LOST, VERSION_MISMATCH = 15, 18  # exit codes of nvidia-smi where a driver is broken
WAY_OUT = (
    "Set `pytorch: cuda12` in the configuration (drivers from 525, compute capability 5.0 to 9.0) "
    "or cuda13 (drivers from 580, from 7.5), or update the driver; "
    'CUDA_VISIBLE_DEVICES="" asks for the CPU'
)
SHARE_LESS = "let fewer nets share the GPU (--resources gpu=1), take a larger one"
IN_TRAINING = (
    f"{SHARE_LESS}, training.precision bf16 or, other than the paper, a smaller batch_size"
)
OTHERWISE = f'{SHARE_LESS} or the CPU (CUDA_VISIBLE_DEVICES="")'

_held = []  # locks on GPUs, until the process ends


def select_device(precision="fp32"):
    """The device to compute on, deterministically: a GPU if there is one, else the CPU.

    Of several GPUs, the one that the fewest processes of this user took on this machine: jobs
    that run side by side get one each, while there are enough. Raises InputError where there are
    GPUs, or variables give some to this process, and PyTorch can't use them, unless
    CUDA_VISIBLE_DEVICES="" asks for the CPU; and where the GPU only emulates bf16.
    """
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = False  # a kernel per tensor
    set_precision(precision)
    device = _free_device()
    name = device_name(device)
    given = ", ".join(f"{variable}={os.environ.get(variable)}" for variable in GIVEN_BY)
    print(f"device: {device} ({name}), {given}", flush=True)
    if device.type == "cuda" and precision == "bf16":
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise InputError(
                f"training.precision bf16: {name} only emulates it, slower than fp32; take fp32, "
                "or a GPU of compute capability 8.0 or later"
            )
    return device


def set_precision(precision):
    """Compute products in TF32 for tf32, else as IEEE says; bf16 is autocast's."""
    tf32 = precision == "tf32"
    if hasattr(torch.backends, "fp32_precision"):
        torch.backends.fp32_precision = "tf32" if tf32 else "ieee"
    else:  # PyTorch before 2.9, whose convolutions are in TF32 unless told otherwise
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32


def device_name(device):
    """What kind of device computes: its bits are those of others of the same name."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).name
    return f"CPU, {torch.backends.cpu.get_cpu_capability()}"


def _free_device():
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and _is_none(visible):
        return torch.device("cpu")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch warns in many lines of what becomes one here
        problems = [_problem(number) for number in range(torch.cuda.device_count())]
    if not problems:
        _expect_no_gpu()
        return torch.device("cpu")
    usable = [number for number, problem in enumerate(problems) if not problem]
    unusable = "; ".join(filter(None, problems))
    if not usable:
        raise _cannot_use(unusable)
    if unusable:
        print(f"left out: {unusable}", flush=True)
    device = torch.device("cuda", _least_used(usable))
    torch.cuda.set_device(device)
    _try_kernel(device)
    return device


def _is_none(given):
    return given.split(",")[0].strip() in NO_GPUS


def _problem(number):
    """Why PyTorch can't compute on the GPU of that number; empty where nothing says so."""
    try:
        properties = torch.cuda.get_device_properties(number)
    except (RuntimeError, AssertionError) as error:
        return f"GPU {number}: {_start_of(error)}"
    capability = (properties.major, properties.minor)
    built = re.findall(r"(sm|compute)_(\d+)([af]?)\b", " ".join(torch.cuda.get_arch_list()))
    if built and not any(_runs_on(capability, *entry) for entry in built):
        return (
            f"GPU {number}: {properties.name} has compute capability "
            f"{properties.major}.{properties.minor}, which this PyTorch has no code for"
        )
    return ""


def _runs_on(capability, kind, digits, family):
    """Whether code that was built for an architecture, like sm 86 or compute 90a, runs on a GPU.

    Binaries (sm) run on later GPUs of the same major number, PTX (compute) on all later ones;
    what ends in `a` on none but its own, in `f` on its family's, of the same major number.
    """
    built = divmod(int(digits), 10)
    if family == "a":
        return capability == built
    return capability >= built and (capability[0] == built[0] or (kind == "compute" and not family))


def _expect_no_gpu():
    """Raise InputError if PyTorch should see a GPU, as it sees none."""
    given = [
        f"{variable}={os.environ[variable]}"
        for variable in GIVEN_BY
        if not _is_none(os.environ.get(variable, ""))
    ]
    if not given and not (driver_s_gpus() or _broken_driver()):
        return
    try:
        torch.cuda.init()
        reason = "it finds none"
    except (RuntimeError, AssertionError) as error:
        reason = _start_of(error)
    whose = f"this job was given a GPU ({', '.join(given)})" if given else "this machine has a GPU"
    raise _cannot_use(f"{whose} that PyTorch doesn't see: {reason}")


def _try_kernel(device):
    """Raise InputError if not even the first kernel runs."""
    name = device_name(device)
    try:
        with memory_errors(f"{device}, {name}", OTHERWISE):
            torch.ones(1, device=device).add_(1).item()
    except RuntimeError as error:
        raise _cannot_use(f"the first kernel fails on {name}: {_start_of(error)}") from error


def _cannot_use(what):
    """The InputError, in one line: what was found, and what to do."""
    found = driver_s_gpus()
    driver = "; ".join(sorted(set(found))) or _broken_driver() or "no GPU"
    cuda = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built without CUDA"
    built = " ".join([cuda, *torch.cuda.get_arch_list()])
    return InputError(
        f"{what}. nvidia-smi finds: {driver}; PyTorch {torch.__version__} is {built}. {WAY_OUT}"
    )


def driver_s_gpus():
    """`NAME, driver VERSION` of each GPU that nvidia-smi lists."""
    _, said = _nvidia_smi()
    rows = re.findall(r"^(.+), (\d[\d.]+)$", said, re.MULTILINE)
    return [f"{name}, driver {version}" for name, version in rows]


def _broken_driver():
    """What nvidia-smi says where a driver is there, but broken; else nothing."""
    code, said = _nvidia_smi()
    return said.partition("\n")[0] if code in (GPU_IS_LOST, VERSION_MISMATCH) else ""


def _nvidia_smi():
    """Exit code and output of nvidia-smi; None and nothing where it can't be run."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None, ""
    return done.returncode, done.stdout.strip()


def _start_of(error):
    """The first two sentences of an error's first line, without what it advises."""
    found = str(error).strip().partition("\n")[0].partition(" Please ")[0]
    return ". ".join(found.split(". ")[:2]).rstrip(".")


def _least_used(numbers):
    """That of several GPUs which the fewest processes took, held until this process ends."""
    if len(numbers) == 1:
        return numbers[0]
    for share in itertools.count():
        for number in numbers:
            if _lock(f"{torch.cuda.get_device_properties(number).uuid}-{share}"):
                return number


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


@contextmanager
def side_stream(device):
    """The context that a net trains in: on a GPU a stream of its own, as CUDA graphs need.

    It begins after what the GPU was given before, and what comes after it waits for its end.
    """
    if device.type != "cuda":
        yield
        return
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()


def random_state(device):
    """States of PyTorch's generators for a device, uint8, on the host: the CPU's, then a GPU's."""
    gpu_s = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
    return [torch.get_rng_state(), *gpu_s]


def restore_random_state(states, device):
    """Set PyTorch's generators to a random_state, as far as it is of this kind of device."""
    torch.set_rng_state(states[0].cpu())
    if device.type == "cuda" and len(states) > 1:
        torch.cuda.set_rng_state(states[1].cpu(), device)


def is_memory_error(error):
    """Whether a RuntimeError is a GPU's lack of memory, whichever library ran into it."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return re.search(r"CUDA.*out of memory|ALLOC\w*_FAILED", str(error)) is not None


@contextmanager
def memory_errors(what, advice=IN_TRAINING):
    """Turn a GPU's lack of memory into an InputError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not is_memory_error(error):
            raise
        raise InputError(f"{what}: {_start_of(error)}; {advice}") from error
