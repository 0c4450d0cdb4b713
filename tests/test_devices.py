"""The device that is taken: of GPUs as PyTorch and nvidia-smi would show them, by fakes."""

import subprocess
import warnings
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from cxr.cli import InputError, user_errors
from cxr.nets import devices

CPU = torch.device("cpu")
CUDA13 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 12020). Please update your GPU "
    "driver by downloading and installing a new version from the URL: http://www.nvidia.com"
)
NO_IMAGE = (
    "CUDA error: no kernel image is available for execution on the device\n"
    "CUDA kernel errors might be asynchronously reported at some other API call."
)


class Machine:
    """GPUs, their driver and a PyTorch build; what is set here is what torch.cuda then says."""

    def __init__(self, monkeypatch, tmp_path):
        self.gpus = []  # (name, capability) of each that PyTorch counts
        self.listed = None  # lines of nvidia-smi; None: there is no nvidia-smi
        self.exit_code = 0  # of nvidia-smi
        self.driver_error = self.kernel_error = None
        self.initialised = False
        for variable in devices.GIVEN_BY:
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: tmp_path)
        monkeypatch.setattr(devices, "_held", [])
        monkeypatch.setattr(devices.subprocess, "run", self._nvidia_smi)
        monkeypatch.setattr(torch, "ones", self._ones)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        fakes = {
            "device_count": lambda: len(self.gpus),
            "get_device_properties": self._properties,
            "get_arch_list": lambda: CUDA13,
            "set_device": lambda device: None,
            "init": self._init,
            "is_bf16_supported": lambda including_emulation: self.gpus[0][1] >= (8, 0),
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    def _nvidia_smi(self, *_, **__):
        if self.listed is None:
            raise FileNotFoundError("nvidia-smi")
        return subprocess.CompletedProcess([], self.exit_code, "\n".join(self.listed) + "\n")

    def _init(self):
        raise self.driver_error or RuntimeError("No CUDA GPUs are available")

    def _properties(self, device):
        if not self.initialised:
            warnings.warn("in many lines", stacklevel=1)
        self.initialised = True
        if self.driver_error:
            raise self.driver_error
        number = getattr(device, "index", device)
        name, (major, minor) = self.gpus[number]
        return SimpleNamespace(name=name, major=major, minor=minor, uuid=f"gpu{number}")

    def _ones(self, *_, **__):
        if self.kernel_error:
            raise self.kernel_error
        return torch.zeros(1)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    return Machine(monkeypatch, tmp_path)


def refusal(capfd):
    """The one line that a step ends with."""
    with pytest.raises(SystemExit), user_errors():
        devices.select_device()
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("error: ")
    assert 'CUDA_VISIBLE_DEVICES="" asks for the CPU' in err and "pytorch: cuda12" in err
    return err


def test_no_gpu_is_the_cpu(machine, capfd):
    assert devices.select_device() == CPU
    assert capfd.readouterr().out.startswith("device: cpu (CPU, ")


@pytest.mark.parametrize("lines", [["No devices were found"], [""], ["WARNING: infoROM, is bad"]])
def test_nvidia_smi_that_lists_no_gpu_is_the_cpu(machine, lines):
    machine.listed = lines
    assert devices.select_device() == CPU


def test_a_driver_that_is_not_loaded_is_the_cpu(machine):
    """As on a login node."""
    machine.listed, machine.exit_code = ["NVIDIA-SMI has failed because it couldn't ..."], 9
    assert devices.select_device() == CPU


@pytest.mark.parametrize("value", ["", " ", "-1", "NoDevFiles", "-1,0"])
def test_the_cpu_on_purpose(machine, monkeypatch, value):
    machine.listed = ["NVIDIA H100, 580.65"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    monkeypatch.setenv("SLURM_JOB_GPUS", "0")
    assert devices.select_device() == CPU


@pytest.mark.parametrize("variable", devices.GIVEN_BY)
def test_a_gpu_that_was_given_and_is_not_seen(machine, monkeypatch, capfd, variable):
    monkeypatch.setenv(variable, "3")
    line = refusal(capfd)
    assert f"given a GPU ({variable}=3) that PyTorch doesn't see: No CUDA GPUs are avail" in line
    assert "nvidia-smi finds: no GPU" in line


def test_a_build_without_cuda(machine, monkeypatch, capfd):
    machine.driver_error = AssertionError("Torch not compiled with CUDA enabled")
    machine.listed = ["NVIDIA A100-SXM4-40GB, 580.65.06"] * 2
    monkeypatch.setattr(torch.version, "cuda", None)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: [])
    line = refusal(capfd)
    assert "machine has a GPU that PyTorch doesn't see: Torch not compiled with CUDA" in line
    assert "finds: NVIDIA A100-SXM4-40GB, driver 580.65.06; PyTorch" in line
    assert "is built without CUDA." in line


@pytest.mark.parametrize("counted", [0, 1])
def test_a_driver_that_is_too_old(machine, capfd, counted):
    """NVML still counts the GPU; without NVML, nothing does."""
    machine.driver_error = RuntimeError(TOO_OLD)
    machine.gpus = [("Tesla T4", (7, 5))] * counted
    machine.listed = ["Tesla T4, 535.104.05"]
    line = refusal(capfd)
    assert "is too old (found version 12020)" in line and "http" not in line
    assert "Tesla T4, driver 535.104.05" in line and "built for CUDA 13.0 sm_75 sm_80" in line


def test_a_driver_that_was_updated_under_way(machine, capfd):
    message = "Failed to initialize NVML: Driver/library version mismatch"
    machine.listed, machine.exit_code = [message, "NVML library version: 580.65"], 18
    assert message in refusal(capfd)


@pytest.mark.parametrize(
    ("name", "capability"), [("GeForce GTX 1080", (6, 1)), ("Tesla V100", (7, 0)), ("X", (13, 0))]
)
def test_an_architecture_that_the_build_has_no_code_for(
    machine, monkeypatch, capfd, name, capability
):
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: CUDA13[:-1])
    machine.gpus = [(name, capability)]
    major, minor = capability
    assert f"GPU 0: {name} has compute capability {major}.{minor}, which this" in refusal(capfd)


@pytest.mark.parametrize(
    ("capability", "built", "runs"),
    [
        ((7, 5), "sm_75", True),
        ((8, 9), "sm_86", True),
        ((8, 0), "sm_86", False),
        ((8, 9), "sm_90", False),
        ((9, 0), "sm_80", False),
        ((9, 0), "compute_80", True),
        ((7, 0), "sm_60 compute_75", False),
        ((12, 1), "sm_120", True),
        ((10, 3), "sm_100", True),
        ((9, 0), "sm_90a", True),
        ((10, 0), "compute_90a", False),
        ((10, 3), "sm_100a", False),
        ((10, 3), "sm_100f", True),
        ((11, 0), "compute_100f", False),
        ((9, 4), "gfx942", True),  # AMD's: nothing is known against it
        ((9, 0), "", True),
    ],
)
def test_binaries_run_on_later_minor_numbers_and_ptx_on_all(
    machine, monkeypatch, capability, built, runs
):
    machine.gpus = [("GPU", capability)]
    monkeypatch.setattr(torch.cuda, "get_arch_list", built.split)
    with nullcontext() if runs else pytest.raises(InputError, match="no code for"):
        assert devices.select_device() == torch.device("cuda", 0)


def test_a_first_kernel_that_fails(machine, capfd):
    machine.gpus, machine.kernel_error = [("Orin", (8, 7))], RuntimeError(NO_IMAGE)
    line = refusal(capfd)
    assert "first kernel fails on Orin: CUDA error: no kernel image is available for exec" in line
    assert "asynchronously" not in line


def test_a_gpu_that_is_full_is_no_gpu_that_can_not_be_used(machine):
    machine.gpus, machine.kernel_error = (
        [("H100", (9, 0))],
        RuntimeError("CUDA error: out of memory"),
    )
    with pytest.raises(InputError, match=r"H100: CUDA error: out of memory; let fewer nets share"):
        devices.select_device()


def test_a_gpu_that_can_not_be_used_is_left_for_one_that_can(machine, capfd):
    machine.gpus = [("GeForce GT 710", (3, 5)), ("GeForce RTX 4090", (8, 9))]
    assert [devices.select_device().index for _ in range(2)] == [1, 1]
    out, err = capfd.readouterr()
    assert "left out: GPU 0: GeForce GT 710 has compute capability 3.5" in out
    assert "device: cuda:1 (GeForce RTX 4090)" in out and not err


def test_jobs_spread_over_gpus(machine):
    machine.gpus = [("GPU", (9, 0))] * 2
    assert [devices.select_device().index for _ in range(5)] == [0, 1, 0, 1, 0]
    devices._held[2].release()
    assert devices.select_device().index == 0


@pytest.mark.parametrize(("capability", "works"), [((7, 5), False), ((8, 0), True)])
def test_bf16_that_is_only_emulated(machine, capability, works):
    machine.gpus = [("Tesla T4", capability)]
    devices.select_device("tf32")
    with nullcontext() if works else pytest.raises(InputError, match="Tesla T4 only emulates it"):
        devices.select_device("bf16")
    devices.select_device()


def test_tf32_is_chosen_in_pytorch_before_2_9_too(monkeypatch):
    old = SimpleNamespace(
        cudnn=SimpleNamespace(allow_tf32=True),
        cuda=SimpleNamespace(matmul=SimpleNamespace(allow_tf32=False)),
    )
    monkeypatch.setattr(torch, "backends", old)
    for precision, allowed in {"fp32": False, "tf32": True, "bf16": False}.items():
        devices.set_precision(precision)
        assert (old.cudnn.allow_tf32, old.cuda.matmul.allow_tf32) == (allowed, allowed)
    assert not hasattr(old, "fp32_precision")


def test_tf32_is_chosen(monkeypatch):
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("PyTorch before 2.9")
    for precision, expected in {"tf32": "tf32", "bf16": "ieee", "fp32": "ieee"}.items():
        devices.set_precision(precision)
        assert torch.backends.fp32_precision == expected


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has 80"),
        RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    ],
)
def test_too_little_memory_says_what_to_lower(error):
    with pytest.raises(InputError, match=r"^netA: (CUDA|cuDNN)[^\n]*smaller batch_size$"):
        with devices.memory_errors("netA"):
            raise error


def test_another_error_of_a_gpu_keeps_its_traceback():
    with pytest.raises(RuntimeError, match="illegal memory access"), devices.memory_errors("netA"):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_the_side_stream_waits_and_is_waited_for(monkeypatch):
    order = []
    stream = SimpleNamespace(
        wait_stream=lambda other: order.append(f"wait for {other}"),
        synchronize=lambda: order.append("synchronize"),
    )
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: "default")
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    with devices.side_stream(torch.device("cuda")):
        order.append("train")
    assert order == ["wait for default", "train", "synchronize"]
