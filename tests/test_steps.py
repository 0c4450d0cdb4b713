"""Ways to take the same step: precisions, places of the data, CUDA graphs."""

import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cxr import devices  # noqa: E402
from cxr.arrays import open_by_class  # noqa: E402
from cxr.batches import Pixels  # noqa: E402
from cxr.logs import InputError  # noqa: E402
from cxr.nets import output_layer_name  # noqa: E402
from small_trainings import CLASSES, CPU, command, draw_images, new_net, save_start, train  # noqa: E402


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("images"), 40)


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 0.01), ("bf16", 0.1)])
def test_lower_precision_gives_nearly_the_same_losses(images, precision, tolerance):
    losses = {}
    for chosen in ("fp32", precision):
        devices.take_device(chosen)
        _, history = train(images, precision=chosen, learning_rate=0.001)
        losses[chosen] = [row[name] for row in history for name in ("train_loss", "val_loss")]
    devices.take_device()
    assert losses[precision] == pytest.approx(losses["fp32"], rel=tolerance)
    if precision == "bf16":
        assert losses[precision] != losses["fp32"]


def test_batch_norm_of_frozen_layers_can_keep_up_with_the_images(images):
    before = new_net("resnet18").state_dict()
    after, _ = train(images, trainable="output_layer", frozen_batch_norm="train")
    head = output_layer_name(new_net("resnet18"))
    for name in after:
        moves = name.startswith(head) or "running" in name or "num_batches" in name
        assert torch.equal(before[name], after[name]) != moves, name


def test_pixels_are_the_same_kept_on_the_device_or_read(images):
    data = open_by_class(images, CLASSES)
    indices, flipped = np.array([7, 3, 39, 0]), np.array([True, False, True, False])
    read, kept = (Pixels(data, CPU, keep) for keep in (False, True))
    assert kept.kept.shape == (40, 32, 32)
    assert read.kept is None
    assert torch.equal(read(indices, flipped), kept(indices, flipped))
    assert torch.equal(kept(indices, flipped)[0], kept(indices)[0].flip(-1))
    assert torch.equal(kept(indices, flipped)[1], kept(indices)[1])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("architecture", ["densenet121", "squeezenet1_1"])
@pytest.mark.parametrize("precision", devices.PRECISIONS)
def test_a_cuda_graph_gives_the_same_bits(images, architecture, precision):
    device = devices.take_device(precision)
    options = {"architecture": architecture, "precision": precision, "epochs": 3}
    eager, rows = train(images, device=device, **options)
    graphed, graphed_rows = train(images, device=device, cuda_graph=True, **options)
    assert all(torch.equal(eager[name], graphed[name]) for name in eager)
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in graphed_rows]


def test_too_little_memory_says_what_to_lower():
    with pytest.raises(InputError, match=r"netA: CUDA.*2\.00 GiB.*smaller batch_size"):
        with devices.memory_errors("netA"):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")


def test_jobs_spread_over_gpus(monkeypatch, tmp_path):
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: tmp_path)
    monkeypatch.setattr(devices, "_held", [])
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda number: None)

    def properties(device):
        return SimpleNamespace(uuid=f"gpu{getattr(device, 'index', device)}", name="GPU")

    monkeypatch.setattr(torch.cuda, "get_device_properties", properties)
    assert [devices.take_device().index for _ in range(5)] == [0, 1, 0, 1, 0]
    devices._held[2].release()
    assert devices.take_device().index == 0


def test_tensorboard_gets_the_history(images, tmp_path):
    words = command(images, save_start(tmp_path), tmp_path / "netA" / "phase1")
    subprocess.run([*words, "--tensorboard", tmp_path / "events"], check=True)
    (events,) = (tmp_path / "events" / "netA_phase1").iterdir()
    assert b"val_loss" in events.read_bytes()
