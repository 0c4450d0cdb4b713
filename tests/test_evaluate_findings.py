"""AUROC per finding, and the gate that weights which know nothing don't pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.nets.torch_nets import create, save_net
from evaluate_findings import aurocs, evaluate_findings
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
    images["patient_id"] = np.arange(60) // 2
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
    assert table.n.tolist() == [40, 40, 40]
    row, mean = table.loc["Mass"], table.loc["mean"]
    assert row.auroc_low < row.auroc < row.auroc_high
    scores = ["auroc", "auroc_low", "auroc_high"]
    assert mean[scores].tolist() == pytest.approx(row[scores].tolist())


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


def test_few_positive_images_have_no_auroc():
    positive = np.arange(60)[:, None] < [9, 10]
    scores = np.random.default_rng(0).random((60, 2))
    table = aurocs(["Mass", "Hernia"], positive, scores, np.arange(60)).set_index("finding")
    assert np.isnan(table.auroc["Mass"]) and np.isnan(table.auroc_low["Mass"])
    assert table.auroc["mean"] == table.auroc["Hernia"]


def test_images_of_a_patient_are_one_observation():
    """Each of 60 images four times: as wide an interval as from the 60."""
    positive, scores = np.arange(60)[:, None] % 3 == 0, np.random.default_rng(1).random((60, 1))
    once = aurocs(["Mass"], positive, scores, np.arange(60)).iloc[0]
    four = [np.repeat(values, 4, axis=0) for values in (positive, scores, np.arange(60))]
    again = aurocs(["Mass"], *four).iloc[0]
    assert again.auroc == pytest.approx(once.auroc)
    assert again.auroc_high - again.auroc_low == pytest.approx(
        once.auroc_high - once.auroc_low, rel=0.1
    )


def test_mean_of_findings_leaves_out_no_finding():
    positive = np.arange(60)[:, None] % [2, 3, 4] == 0
    scores = np.where(positive, [0.5, 0.5, 1.0], 0.5)
    table = aurocs(["Mass", "Hernia", "No Finding"], positive, scores, np.arange(60))
    assert table.auroc.tolist() == [0.5, 0.5, 1, 0.5]
    width = (table.auroc_high - table.auroc_low)[[0, 1, 3]]
    assert width.iloc[2] < width[:2].min()
