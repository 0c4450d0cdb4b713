"""Zech's checkpoints load in both layouts; a pickle that asks for more runs nothing."""

import importlib
import os
import subprocess
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.data.chestxray14 import FINDINGS
from cxr.data.image_sets import open_by_class
from cxr.nets.chexnet import load_chexnet
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import NetError, create
from evaluate_authors_nets import evaluate_authors_nets
from small_trainings import CLASSES, CPU, draw_images
from torch import nn


def checkpoint():
    """What reproduce-chexnet saves: a whole module whose classifier ends in a sigmoid."""
    net = create("densenet121", 14)
    net.classifier = nn.Sequential(net.classifier, nn.Sigmoid())
    return {
        "model": net,
        "best_loss": 0.1,
        "epoch": 3,
        "rng_state": torch.get_rng_state(),
        "LR": 0.01,
    }


@pytest.mark.parametrize("zip_layout", [False, True], ids=["legacy", "zip"])
def test_checkpoint_loads_to_the_bit(tmp_path, zip_layout):
    stored = checkpoint()
    torch.save(stored, tmp_path / "checkpoint", _use_new_zipfile_serialization=zip_layout)
    net = load_chexnet(tmp_path / "checkpoint", list(FINDINGS))
    pixels = torch.rand(1, 3, 64, 64)
    stored["model"].eval()
    assert torch.equal(net.eval()(pixels).sigmoid(), stored["model"](pixels))


class Exploit:
    """What pickle calls when it loads this."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("zip_layout", [False, True], ids=["legacy", "zip"])
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (subprocess.getoutput, "touch {}"),
        (eval, "open('{}', 'w')"),
        (exec, "open('{}', 'w')"),
        (open, "{}"),
        (getattr, "{}"),
        (importlib.import_module, "{}"),
        (torch.hub.load, "{}"),
        (torch.load, "{}"),
        (nn.Module.apply, "{}"),
    ],
)
def test_exploit_is_refused_and_nothing_runs(tmp_path, zip_layout, function, argument):
    exploit = Exploit(function, argument.format(tmp_path / "ran"))
    torch.save(
        checkpoint() | {"epoch": exploit},
        tmp_path / "checkpoint",
        _use_new_zipfile_serialization=zip_layout,
    )
    with pytest.raises(NetError, match=r"it asks for [\w.]+, which no DenseNet needs"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [OrderedDict(model={}), [1, 2], {"classifier.weight": torch.zeros(3, 7)}]
)
def test_what_is_no_densenet_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "checkpoint")
    with pytest.raises(NetError, match="expected a DenseNet121 or 201"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))


def test_a_missing_tensor_is_named(tmp_path):
    state = create("densenet121", 14).state_dict()
    del state["features.conv0.weight"]
    torch.save(state, tmp_path / "checkpoint")
    with pytest.raises(NetError, match=r"Missing key.*features\.conv0\.weight"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))


def test_other_outputs_are_refused(tmp_path):
    torch.save(create("densenet121", 3).state_dict(), tmp_path / "checkpoint")
    with pytest.raises(NetError, match="densenet121 with 14 outputs, found a densenet121 with 3"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))


@pytest.mark.parametrize("zip_layout", [False, True], ids=["legacy", "zip"])
@pytest.mark.parametrize("content", ["module", "state dict"])
def test_the_authors_nets_are_tried_in_every_order(tmp_path, zip_layout, content):
    """A net whose second output is normal, third viral pneumonia, first COVID-19."""
    images = draw_images(tmp_path, 12)
    data = open_by_class(images, CLASSES)
    net = create("densenet201", 3)
    logits = predict_logits(net, data, CPU)
    stored = net if content == "module" else net.state_dict()
    torch.save(stored, tmp_path / "NetA.pt", _use_new_zipfile_serialization=zip_layout)
    evaluate_authors_nets([tmp_path / "NetA.pt"], images, tmp_path / "accuracies.csv")
    table = pd.read_csv(tmp_path / "accuracies.csv").set_index("outputs")
    assert len(table) == 6
    assert set(table.architecture) == {"densenet201"}
    labels = data.labels[:, [2, 0, 1]].argmax(axis=1)
    expected = (logits.argmax(axis=1) == labels).mean()
    assert table.accuracy["covid19 normal viral_pneumonia"] == pytest.approx(expected)
