"""Means of AUROCs that are compared with each other are over the same findings."""

import pandas as pd
import pytest
from compare_published import compare_published


def write_net(folder):
    """What compare_published reads of a net on the COVID-19 images."""
    folder.mkdir(parents=True)
    scores = {"class": ["covid19", "mean"], "f1": 0.9, "recall": 0.8, "precision": 0.7}
    pd.DataFrame(scores).to_csv(folder / "metrics.csv", index=False)
    pd.DataFrame({"accuracy": [0.9]}).to_csv(folder / "summary.csv", index=False)


def compared(folder, aurocs, published):
    """aurocs.csv by finding, of {net: {finding: auroc}}."""
    write_net(folder / "netA")
    paths = {}
    for name, values in aurocs.items():
        paths[name] = folder / f"{name}.csv"
        table = pd.DataFrame({"finding": list(values), "positive": 3, "n": 60})
        areas = pd.Series(values.values(), dtype=float)
        table = table.assign(auroc=areas, auroc_low=areas - 0.1, auroc_high=areas + 0.1)
        mean = {"finding": "mean", "n": 60, "auroc": 0.5, "auroc_low": 0.4, "auroc_high": 0.6}
        pd.concat([table, pd.DataFrame([mean])]).to_csv(paths[name], index=False)
    compare_published(
        {"netA": folder / "netA/metrics.csv"}, {"netA": folder / "netA/summary.csv"}, paths,
        {"studies": [], "aurocs": published}, folder / "published.csv", folder / "aurocs.csv",
    )  # fmt: skip
    return pd.read_csv(folder / "aurocs.csv").set_index("finding")


def test_no_finding_is_not_in_the_mean(tmp_path):
    """With it, the mean of the net that has it would be 0.7 and turn the order around."""
    ours = {
        "chestxray14": {"Mass": 0.6, "Hernia": 0.5, "No Finding": 1.0},
        "chexnet": {"Mass": 0.6, "Hernia": 0.6},
    }
    table = compared(tmp_path, ours, {"published": {"Mass": 0.8, "Hernia": 0.9}})
    assert table.index.tolist() == ["Mass", "Hernia", "No Finding", "mean"]
    means = table.loc["mean", ["chestxray14", "chexnet", "published"]]
    assert means.tolist() == pytest.approx([0.55, 0.6, 0.85])


def test_mean_is_over_the_findings_that_all_columns_have(tmp_path):
    ours = {"chestxray14": {"Mass": 0.6, "Hernia": None}, "chexnet": {"Mass": 0.7, "Hernia": None}}
    table = compared(tmp_path, ours, {"published": {"Mass": 0.8, "Hernia": 0.2}})
    means = table.loc["mean", ["chestxray14", "chexnet", "published"]]
    assert means.tolist() == pytest.approx([0.6, 0.7, 0.8])


def test_without_a_shared_finding_there_is_no_mean(tmp_path):
    ours = {"one": {"Mass": 0.6, "No Finding": 0.9}, "other": {"Hernia": 0.7, "No Finding": 0.9}}
    table = compared(tmp_path, ours, {"published": {"Mass": 0.8}})
    assert table.loc["mean", ["one", "other", "published"]].isna().all()
    assert len(table) == 4


def test_mean_has_an_interval_where_it_is_over_all_findings_of_a_net(tmp_path):
    ours = {"one": {"Mass": 0.6, "Hernia": None}, "other": {"Mass": 0.7, "Hernia": 0.5}}
    table = compared(tmp_path, ours, {"published": {"Mass": 0.8, "Hernia": 0.2}})
    assert table.loc["mean", ["one_low", "one_high"]].tolist() == [0.4, 0.6]
    assert table.loc["mean", ["other_low", "other_high"]].isna().all()
    assert table.loc["Mass", ["one_low", "other_high"]].tolist() == pytest.approx([0.5, 0.8])
