"""AUROC per finding, and the gate that weights which know nothing don't pass."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.nets.torch_nets import create, save_net
from evaluate_findings import aurocs, evaluate_findings
from predict_findings import predict_findings

SPLITS = ["train"] * 10 + ["val"] * 10 + ["test"] * 40


@pytest.fixture
def evaluated(tmp_path):
    """Arguments for random logits of 60 images, of which 40 are test images."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(60)], "split": SPLITS})
    labels = table.assign(patient_id=np.arange(60) // 2, Mass=rng.integers(0, 2, 60), Hernia=0)
    labels.to_csv(tmp_path / "split.csv", index=False)
    logits = table.assign(Mass=rng.normal(size=60), Hernia=rng.normal(size=60))
    logits[10:].to_csv(tmp_path / "logits.csv", index=False)
    return {
        "logits": tmp_path / "logits.csv",
        "split": tmp_path / "split.csv",
        "min_images": 10,
        "out": tmp_path / "auroc.csv",
    }


def changed(path, **columns):
    """Write a CSV again with some columns made of the table."""
    table = pd.read_csv(path)
    table.assign(**columns).to_csv(path, index=False)


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


def test_no_finding_is_not_in_the_mean_that_weights_are_refused_by(evaluated):
    """A net that is right about No Finding, and about no finding."""
    table = pd.read_csv(evaluated["split"])
    table["No Finding"] = 1 - table.Mass
    table.to_csv(evaluated["split"], index=False)
    right = table["No Finding"][10:].to_numpy()
    logits = pd.read_csv(evaluated["logits"])[["image", "split"]]
    logits.assign(Mass=right, **{"No Finding": right}).to_csv(evaluated["logits"], index=False)
    with pytest.raises(InputError, match=r"mean AUROC 0\.000 on 40 test images"):
        evaluate_findings(**evaluated, min_mean_auroc=0.4)


@pytest.mark.parametrize(
    ("name", "columns", "message"),
    [
        ("logits", {"Mass": "much"}, r"found a logit of 10\.png that is no number"),
        ("logits", {"Cough": 1}, "found the output 'Cough'"),
        ("logits", {"split": "val"}, r"found 20\.png as a val image, which it isn't in"),
        ("split", {"image": range(60)}, r"found 10\.png as a val image, which it isn't in"),
    ],
)
def test_logits_of_another_run_are_refused(evaluated, name, columns, message):
    changed(evaluated[name], **columns)
    with pytest.raises(InputError, match=message):
        evaluate_findings(**evaluated)


def test_logits_of_validation_and_test_images_are_the_nets(tmp_path):
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    net = create("squeezenet1_1", 2)
    description = {"architecture": "squeezenet1_1", "outputs": ["Mass", "Hernia"], "image_size": 32}
    save_net(tmp_path / "net.safetensors", net, description)
    table = pd.DataFrame({"image": [f"{number}.png" for number in range(60)]})
    pixels = rng.integers(0, 256, (60, 32, 32), dtype=np.uint8)
    save_images(tmp_path / "images.npy", pixels, table)
    table = table.assign(split=SPLITS, Mass=0, Hernia=0)[::-1]
    table.to_csv(tmp_path / "split.csv", index=False)
    predict_findings(
        tmp_path / "net.safetensors", [tmp_path / "images.npy"], [tmp_path / "images.csv"],
        tmp_path / "split.csv", tmp_path / "logits.csv",
    )  # fmt: skip
    found = pd.read_csv(tmp_path / "logits.csv")
    assert list(found) == ["image", "split", "Mass", "Hernia"]
    assert found.split.tolist() == ["val"] * 10 + ["test"] * 40
    scaled = torch.from_numpy(pixels[[19, 59]]).float()[:, None].expand(-1, 3, -1, -1) / 255
    mean, spread = (
        torch.tensor(v)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    expected = net.eval()((scaled - mean) / spread).detach().numpy()
    rows = found.set_index("image").loc[["19.png", "59.png"], ["Mass", "Hernia"]]
    assert np.allclose(rows, expected, atol=1e-4)


def test_few_positive_images_have_no_auroc():
    positive = np.arange(60)[:, None] < [9, 10]
    scores = np.random.default_rng(0).random((60, 2))
    table = aurocs(["Mass", "Hernia"], positive, scores, np.arange(60), 10).set_index("finding")
    assert np.isnan(table.auroc["Mass"]) and np.isnan(table.auroc_low["Mass"])
    assert table.auroc["mean"] == table.auroc["Hernia"]


def test_images_of_a_patient_are_one_observation():
    """Each of 60 images four times: as wide an interval as from the 60."""
    positive, scores = np.arange(60)[:, None] % 3 == 0, np.random.default_rng(1).random((60, 1))
    once = aurocs(["Mass"], positive, scores, np.arange(60), 10).iloc[0]
    four = [np.repeat(values, 4, axis=0) for values in (positive, scores, np.arange(60))]
    again = aurocs(["Mass"], *four, 10).iloc[0]
    assert again.auroc == pytest.approx(once.auroc)
    assert again.auroc_high - again.auroc_low == pytest.approx(
        once.auroc_high - once.auroc_low, rel=0.1
    )


def test_mean_of_findings_leaves_out_no_finding():
    positive = np.arange(60)[:, None] % [2, 3, 4] == 0
    scores = np.where(positive, [0.5, 0.5, 1.0], 0.5)
    table = aurocs(["Mass", "Hernia", "No Finding"], positive, scores, np.arange(60), 10)
    assert table.auroc.tolist() == [0.5, 0.5, 1, 0.5]
    width = (table.auroc_high - table.auroc_low)[[0, 1, 3]]
    assert width.iloc[2] < width[:2].min()
