"""AUROC per finding, and the gate that weights which know nothing don't pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.nets.torch_nets import create, save_net
from evaluate_findings import evaluate_findings
from torch import nn


@pytest.fixture
def evaluated(tmp_path):
    """Arguments for a random net on 60 random images, of which 40 are test images."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    description = {"architecture": "squeezenet1_1", "outputs": ["Mass", "Hernia"], "image_size": 32}
    save_net(tmp_path / "net.safetensors", create("squeezenet1_1", 2), description)
    images = pd.DataFrame({"image": [f"{number}.png" for number in range(60)]})
    pixels = rng.integers(0, 256, (60, 32, 32), dtype=np.uint8)
    save_images(tmp_path / "images.npy", pixels, images)
    images["split"], images["Mass"], images["Hernia"] = "test", rng.integers(0, 2, 60), 0
    images.loc[:19, "split"] = "train"
    images.to_csv(tmp_path / "split.csv", index=False)
    return {
        "net": tmp_path / "net.safetensors",
        "images": [tmp_path / "images.npy"],
        "split": tmp_path / "split.csv",
        "out": tmp_path / "auroc.csv",
    }


def test_findings_without_a_positive_image_have_no_auroc(evaluated):
    evaluate_findings(**evaluated)
    table = pd.read_csv(evaluated["out"]).set_index("finding")
    assert 0 <= table.loc["Mass", "auroc"] <= 1
    assert np.isnan(table.loc["Hernia", "auroc"])
    assert table.n.tolist() == [40, 40]


def test_weights_that_know_nothing_are_refused(evaluated):
    with pytest.raises(InputError, match=r"mean AUROC 0\.\d+ on 40 test images, expected at least"):
        evaluate_findings(**evaluated, min_mean_auroc=0.9)
    assert not evaluated["out"].exists()


def test_no_finding_is_not_in_the_mean_that_weights_are_refused_by(evaluated, monkeypatch):
    """A net that is right about No Finding, and about no finding."""
    table = pd.read_csv(evaluated["split"]).rename(columns={"Hernia": "No Finding"})
    table["No Finding"] = 1 - table["Mass"]
    table.to_csv(evaluated["split"], index=False)
    outputs = ["Mass", "No Finding"]
    test = table[table.split == "test"]
    logits = test[["No Finding", "No Finding"]].to_numpy(float)
    monkeypatch.setattr(
        "evaluate_findings.load_net", lambda _: (nn.Identity(), {"outputs": outputs})
    )
    monkeypatch.setattr("evaluate_findings.predict_logits", lambda *_: logits)
    with pytest.raises(InputError, match=r"mean AUROC 0\.000 on 40 test images"):
        evaluate_findings(**evaluated, min_mean_auroc=0.4)
