"""Replicates: what is due to net, split and seed, on scores whose parts are known."""

import numpy as np
import pandas as pd
import pytest
from collect_replicates import collect_replicates, variance_components
from cxr.data.covid19 import CLASSES


def shares(values):
    return variance_components(values).set_index("source").share


@pytest.mark.parametrize("axis, source", [(0, "net"), (1, "split"), (2, "seed")])
def test_one_source_alone_has_the_whole_variance(axis, source):
    effects = np.array([0.90, 0.95, 0.99]).reshape([-1 if a == axis else 1 for a in range(3)])
    values = np.broadcast_to(effects, (3, 3, 3))
    assert shares(values)[source] == pytest.approx(1)
    assert shares(values).sum() == pytest.approx(1)


def test_known_variances_are_found_again():
    rng = np.random.default_rng(0)
    drawn = {"net": (200, 1, 1), "split": (1, 200, 1), "net x split": (200, 200, 1)}
    sd = {"net": 3.0, "split": 2.0, "net x split": 1.0, "seed": 1.5}
    values = sum(rng.normal(0, sd[source], shape) for source, shape in drawn.items())
    values = values + rng.normal(0, sd["seed"], (200, 200, 4))
    found = variance_components(values).set_index("source").variance
    for source, expected in sd.items():
        assert found[source] == pytest.approx(expected**2, rel=0.25), source


def test_one_net_has_splits_and_seeds_alone():
    values = np.array([[[0.9, 0.92], [0.8, 0.82]]])
    found = variance_components(values).set_index("source").variance
    assert found["net"] == found["net x split"] == 0
    assert found["seed"] == pytest.approx(np.var([0.9, 0.92], ddof=1))
    assert found["split"] == pytest.approx(np.var([0.91, 0.81], ddof=1) - found["seed"] / 2)


def test_shares_of_few_splits_are_uncertain():
    """Of 3 splits and 40: the interval of split holds its share and narrows."""
    rng = np.random.default_rng(1)
    width = {}
    for splits in (3, 40):
        values = rng.normal(0, 1, (1, splits, 1)) + rng.normal(0, 1, (5, splits, 4))
        row = variance_components(values).set_index("source").loc["split"]
        assert 0 <= row.share_low < row.share < row.share_high <= 1
        assert row.share_low < 0.5 < row.share_high
        width[splits] = row.share_high - row.share_low
    assert width[3] > 2 * width[40]


def test_equal_scores_have_no_shares():
    assert shares(np.ones((2, 2, 2))).isna().all()


def write_predictions(path, wrong):
    """Nine edited test images, of which the first so many are called the class after theirs."""
    classes = [name for name in CLASSES for _ in range(3)]
    predicted = [
        CLASSES[(CLASSES.index(name) + 1) % 3] if number < wrong else name
        for number, name in enumerate(classes)
    ]
    table = pd.DataFrame(
        {"image": range(9), "class": classes, "version": "edited", "phase": 1}
        | {name: [0.9 if p == name else 0.1 for p in predicted] for name in CLASSES}
        | {"predicted": predicted}
    )
    path.parent.mkdir(parents=True)
    table.to_csv(path, index=False)


def test_replicates_are_collected(tmp_path):
    wrong = {("netA", 1): (0, 1), ("netA", 2): (2, 3), ("netB", 1): (0, 0), ("netB", 2): (1, 2)}
    for (net, split), of_seeds in wrong.items():
        for seed, number in enumerate(of_seeds, 1):
            write_predictions(
                tmp_path / f"split{split}_seed{seed}" / net / "predictions.csv", number
            )
    collect_replicates(tmp_path, ["netA", "netB"], 2, tmp_path / "replicates.svg")
    table = pd.read_csv(tmp_path / "replicates.csv")
    assert len(table) == 8
    assert (table.n == 9).all() and (table.covid19_n == 3).all()
    summary = pd.read_csv(tmp_path / "summary.csv").set_index(["net", "score"])
    row = summary.loc["netA", "accuracy"]
    expected = np.array([9, 8, 7, 6]) / 9
    assert row["mean"] == pytest.approx(expected.mean())
    assert row.sd == pytest.approx(expected.std(ddof=1))
    assert (row.least, row.greatest) == pytest.approx((6 / 9, 1))
    assert row.expected_sd == pytest.approx(np.sqrt(7.5 / 9 * 1.5 / 9 / 9))
    assert pd.read_csv(tmp_path / "variance.csv").groupby("score").share.sum().iloc[0] == 1
    assert (tmp_path / "replicates.svg").stat().st_size > 0
