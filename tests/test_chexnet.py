"""Zech's checkpoints load in both layouts; a pickle that asks for more runs nothing."""

import os
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")
from cxr.chestxray14 import FINDINGS  # noqa: E402
from cxr.chexnet import load_chexnet  # noqa: E402
from cxr.nets import NetError, create  # noqa: E402
from torch import nn  # noqa: E402


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
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("zip_layout", [False, True], ids=["legacy", "zip"])
def test_exploit_is_refused_and_nothing_runs(tmp_path, zip_layout):
    stored = checkpoint() | {"epoch": Exploit(tmp_path / "ran")}
    torch.save(stored, tmp_path / "checkpoint", _use_new_zipfile_serialization=zip_layout)
    with pytest.raises(NetError, match=r"it asks for \w+\.system"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))
    assert not (tmp_path / "ran").exists()


def test_a_state_dict_is_no_checkpoint(tmp_path):
    torch.save(OrderedDict(model={}), tmp_path / "checkpoint")
    with pytest.raises(NetError, match="expected"):
        load_chexnet(tmp_path / "checkpoint", list(FINDINGS))
