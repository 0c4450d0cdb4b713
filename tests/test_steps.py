"""Ways to take the same step: precisions, places of the data, CUDA graphs."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from cxr.cli import InputError
from cxr.data.image_sets import open_by_class
from cxr.nets import devices
from cxr.nets.inputs import Pixels
from cxr.nets.torch_nets import output_layer_name
from cxr.training import loop
from cxr.training.sgd_step import SGD, GraphedStep, Step, same_bits
from small_trainings import CLASSES, CPU, command, draw_images, new_net, save_start, train
from torch import nn


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return draw_images(tmp_path_factory.mktemp("images"), 40)


@pytest.mark.parametrize(("precision", "tolerance"), [("tf32", 0.01), ("bf16", 0.1)])
def test_lower_precision_gives_nearly_the_same_losses(images, precision, tolerance):
    losses = {}
    for chosen in ("fp32", precision):
        devices.set_precision(chosen)
        _, (row,) = train(images, precision=chosen, learning_rate=0.001, epochs=1)
        losses[chosen] = [row["train_loss"], row["val_loss"]]
    devices.set_precision("fp32")
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
def test_a_cuda_graph_gives_the_same_bits(images, capsys, architecture, precision):
    device = devices.select_device(precision)
    options = {"architecture": architecture, "precision": precision, "epochs": 3}
    eager, rows = train(images, device=device, **options)
    graphed, graphed_rows = train(images, device=device, cuda_graph=True, **options)
    assert all(torch.equal(eager[name], graphed[name]) for name in eager)
    assert [row["train_loss"] for row in rows] == [row["train_loss"] for row in graphed_rows]
    assert "the CUDA graph" not in capsys.readouterr().out


# Whether a CUDA graph is used, by a fake one on the CPU


class FakeGraph(GraphedStep):
    """Its graph is an eager step, run at each replay; then a fault, a function of the step."""

    def __init__(
        self, *arguments, fault=lambda step: None, in_capture=lambda step: None, **options
    ):
        super().__init__(*arguments, **options)
        self.fault, self.in_capture, self.replays = fault, in_capture, 0

    def _capture(self, inputs, labels):
        self.in_capture(self)
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.graph = SimpleNamespace(replay=self._run)

    def _run(self):
        self.replays += 1
        self.loss = Step.__call__(self, self.inputs, self.labels)
        with torch.no_grad():
            self.fault(self)


def random_net():
    """A small net with batch norm and dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Dropout(), nn.Linear(4, 3),
    )  # fmt: skip


def train_graphed(images, monkeypatch, **faults):
    """Train through a fake graph: ((state, losses), the step)."""
    steps = []

    def new_step(forward, net, optimizer, settings, device):
        arguments = (forward, optimizer, device, settings.precision)
        steps.append(FakeGraph(*arguments, net=net, batch_size=settings.batch_size, **faults))
        return steps[0]

    monkeypatch.setattr(loop, "new_step", new_step)
    return train_random_net(images), steps[0]


def train_random_net(images):
    state, history = train(images, net=random_net(), epochs=3)
    return state, [(row["train_loss"], row["val_loss"]) for row in history]


def assert_equal_bits(found, expected):
    assert found[1] == expected[1]
    assert all(torch.equal(found[0][name], expected[0][name]) for name in expected[0])


def test_a_graph_of_the_same_bits_is_used(images, monkeypatch, capsys):
    """Of 15 batches 3 warm up, and one an epoch is of another size."""
    expected = train_random_net(images)
    found, step = train_graphed(images, monkeypatch)
    assert_equal_bits(found, expected)
    assert (step.replays, step.eager_steps) == (9, 6)
    assert "CUDA graph" not in capsys.readouterr().out


def next_up(tensor):
    tensor.flatten()[0] = tensor.flatten()[0].nextafter(torch.tensor(9.0))


@pytest.mark.parametrize(
    "fault",
    [
        lambda step: next_up(step.loss),
        lambda step: step.net[0].weight[0, 0, 0, 0].neg_(),
        lambda step: next_up(step.net[6].bias),
        lambda step: step.net[1].num_batches_tracked.add_(1),
        lambda step: next_up(step.net[1].running_mean),
        lambda step: next_up(step.optimizer.state[step.net[0].bias]["momentum_buffer"]),
        lambda step: torch.rand(1),
    ],
    ids=["loss", "weight", "bias", "counter", "statistics", "momentum", "random numbers"],
)
def test_a_graph_of_other_bits_is_left(images, monkeypatch, capsys, fault):
    expected = train_random_net(images)
    found, step = train_graphed(images, monkeypatch, fault=fault)
    assert_equal_bits(found, expected)
    assert (step.replays, step.graph) == (1, None)
    said = capsys.readouterr().out
    assert said.count("the CUDA graph") == 1
    assert "warning: the CUDA graph gives other bits in 1 tensors; training continues" in said


def test_a_capture_that_fails_halfway_leaves_no_trace(images, monkeypatch, capsys):
    def fail(step):
        torch.rand(3)
        with torch.no_grad():
            for tensor in step._tensors():
                tensor.zero_()
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore")

    expected = train_random_net(images)
    found, step = train_graphed(images, monkeypatch, in_capture=fail)
    assert_equal_bits(found, expected)
    assert step.replays == 0
    said = capsys.readouterr().out
    assert "graph failed: CUDA error: operation not permitted when stream is capturing;" in said
    assert "more" not in said


@pytest.mark.parametrize("kind", [torch.OutOfMemoryError, RuntimeError])
def test_too_little_memory_for_a_graph_is_an_error_of_memory(images, monkeypatch, kind):
    def fail(step):
        raise kind("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has")

    with pytest.raises(InputError, match="netA: CUDA out of memory"), devices.memory_errors("netA"):
        train_graphed(images, monkeypatch, in_capture=fail)


def test_a_defect_in_capture_keeps_its_traceback(images, monkeypatch):
    with pytest.raises(ZeroDivisionError):
        train_graphed(images, monkeypatch, in_capture=lambda step: 1 / 0)


def test_bits_are_compared_not_values():
    nan, zero = torch.tensor(float("nan")), torch.tensor(0.0)
    assert same_bits(nan, nan.clone())
    assert not same_bits(zero, -zero)
    image = torch.rand(1, 3, 4, 4)
    assert same_bits(image, image.contiguous(memory_format=torch.channels_last))


def test_tensorboard_gets_the_history(images, tmp_path):
    words = command(images, save_start(tmp_path), tmp_path / "netA" / "phase1")
    subprocess.run([*words, "--tensorboard", tmp_path / "events"], check=True)
    (events,) = (tmp_path / "events" / "netA_phase1").iterdir()
    assert b"val_loss" in events.read_bytes()


@pytest.mark.parametrize("architecture", ["densenet121", "squeezenet1_1"])
def test_a_training_does_not_import_the_compiler(architecture, tmp_path):
    """torch._dynamo, torch._inductor and sympy: 2 to 4 s of CPU time in each process."""
    code = """if True:
        import sys
        import torch.utils.checkpoint  # DenseNets do; PyTorch 2.7's needs sympy

        unavoidable = {"sympy"} & set(sys.modules)
        from cxr.nets.devices import select_device
        from cxr.nets.torch_nets import create, load_net, save_net
        from cxr.training.sgd_step import SGD, Step

        device = select_device()
        save_net(sys.argv[1], create(sys.argv[2], 2), {
            "architecture": sys.argv[2], "outputs": ["a", "b"], "image_size": 32})
        net, _ = load_net(sys.argv[1])
        step = Step(net.train(), SGD(net.parameters(), lr=0.1), device)
        step(torch.zeros(2, 3, 32, 32), torch.zeros(2, 2))
        step.optimizer.load_state_dict(step.optimizer.state_dict())
        compiler = {"torch._dynamo", "torch._inductor", "sympy"} - unavoidable
        print(sorted(compiler & set(sys.modules)))
    """
    command = [sys.executable, "-c", code, tmp_path / "net.safetensors", architecture]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(command, text=True, capture_output=True, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1] == "[]"


def test_updates_are_those_of_pytorch_s_sgd():
    def train_by(optimizer):
        torch.manual_seed(0)
        net = nn.Linear(4, 2)
        updates = optimizer(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
        for _ in range(3):
            updates.zero_grad()
            net(torch.randn(8, 4)).square().mean().backward()
            updates.step()
        return [*net.parameters(), *(state["momentum_buffer"] for state in updates.state.values())]

    pairs = zip(train_by(SGD), train_by(torch.optim.SGD), strict=True)
    assert all(torch.equal(own, other) for own, other in pairs)
