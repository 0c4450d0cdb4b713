"""Fed with the paper's table 2, the scores are those of its table 3."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
from compare_nets import compare_nets
from cxr.cli import InputError
from cxr.data.covid19 import CLASSES
from cxr.evaluation.metrics import (
    bootstrap_weights,
    class_scores,
    compare_aurocs,
    confusion,
    expected_calibration_error,
    macro_auroc,
    metrics,
    proportion_interval,
    summary,
)
from evaluate import evaluate, groups_of
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score

TABLE_2 = np.array([[60, 0, 0], [0, 60, 0], [1, 0, 59]])


def predictions(counts):
    rows = [
        (f"{true}{number}{predicted}", true, predicted)
        for i, true in enumerate(CLASSES)
        for j, predicted in enumerate(CLASSES)
        for number in range(counts[i][j])
    ]
    table = pd.DataFrame(rows, columns=["image", "class", "predicted"])
    for name in CLASSES:
        table[name] = np.where(table.predicted == name, 0.9, 0.05)
    return table


def test_table_3_of_the_paper():
    table = metrics(predictions(TABLE_2), seed=0)
    scores = table[["recall", "precision", "f1"]].round(3).to_numpy()
    # The paper prints 0.991 as F1 of COVID-19, computed from a rounded recall.
    expected = [[1, 0.984, 0.992], [1, 1, 1], [0.983, 1, 0.992], [0.994, 0.995, 0.994]]
    assert scores.tolist() == expected
    assert table.n.tolist() == [60, 60, 60, 180]


def test_scores_equal_scikit_learn_s():
    counts = np.random.default_rng(0).integers(0, 20, (3, 3))
    table = predictions(counts)
    precision, recall, f1, _ = precision_recall_fscore_support(
        table["class"], table.predicted, labels=CLASSES
    )
    assert class_scores(counts)[:3] == pytest.approx(np.stack([recall, precision, f1], axis=1))
    assert (confusion(table)[list(CLASSES)].to_numpy() == counts).all()


def test_accuracy_has_its_exact_interval():
    row = summary(predictions(TABLE_2), seed=0).iloc[0]
    interval = [f"{row[name]:.4f}" for name in ("accuracy", "accuracy_low", "accuracy_high")]
    assert interval == ["0.9944", "0.9694", "0.9999"]
    assert (row.n, row.errors) == (180, 1)


def test_intervals_hold_the_scores_and_follow_the_seed():
    table = predictions([[50, 6, 4], [5, 52, 3], [9, 1, 50]])
    first, again, other = (metrics(table, seed) for seed in (0, 0, 1))
    for name in ("recall", "precision", "f1"):
        assert (first[f"{name}_low"] < first[name]).all()
        assert (first[name] < first[f"{name}_high"]).all()
    pd.testing.assert_frame_equal(first, again)
    assert not first.f1_low.equals(other.f1_low)


def test_images_of_a_group_are_drawn_together_and_widen_intervals():
    table = predictions([[50, 10, 0], [10, 50, 0], [10, 0, 50]])
    table["group"] = np.arange(len(table)) // 5
    weights = bootstrap_weights(table, 0)
    assert (weights.reshape(len(weights), -1, 5) == weights[:, ::5, None]).all()
    for name in CLASSES:
        assert (weights[:, table["class"] == name].sum(axis=1) == 60).all()
    alone, together = (metrics(t, 0) for t in (table.drop(columns="group"), table))
    width = [(t.f1_high - t.f1_low).mean() for t in (alone, together)]
    assert width[1] > 1.5 * width[0]


def test_macro_auroc_equals_scikit_learn_s_on_a_resampled_table():
    rng = np.random.default_rng(0)
    table = predictions([[10, 2, 1], [3, 9, 0], [1, 1, 8]])
    table[list(CLASSES)] = rng.random((len(table), 3)).round(1)
    weights = bootstrap_weights(table, 0)[:5]
    for found, times in zip(macro_auroc(table, weights), weights, strict=True):
        drawn = table.loc[table.index.repeat(times)]
        labels = drawn["class"].to_numpy()[:, None] == np.array(CLASSES)
        assert found == pytest.approx(roc_auc_score(labels, drawn[list(CLASSES)], average="macro"))


def test_auroc_has_an_interval():
    table = predictions([[50, 6, 4], [5, 52, 3], [9, 1, 50]])
    row = summary(table, seed=0).iloc[0]
    assert row.macro_auc_low < row.macro_auc < row.macro_auc_high


def test_groups_come_from_patients_and_duplicates(tmp_path):
    split = pd.DataFrame({"image": list("abcde"), "patient_id": ["1", "1", "", "", ""]})
    split.to_csv(tmp_path / "split.csv", index=False)
    pd.DataFrame({"image": ["b"], "duplicate": ["c"]}).to_csv(tmp_path / "pairs.csv", index=False)
    groups = groups_of(tmp_path / "split.csv", tmp_path / "pairs.csv")
    assert groups["a"] == groups["b"] == groups["c"]
    assert len({groups["a"], groups["d"], groups["e"]}) == 3


# 113 patients with an aneurysmal subarachnoid haemorrhage (Turck et al. 2010, doi
# 10.1007/s00134-009-1641-y; data set aSAH of the R package pROC): poor outcome, WFNS grade, S100b.
POOR = """
000011010010110010111010000000001001101100000000011000100010100111011011110001101000000100
00000000001111110001000
"""
WFNS = """
111132541252551252252111121211342145414255112411255212512221511252145244141214212324214511
54221113125225552445111
"""
S100B_HUNDREDTHS = """
13 14 10 4 13 10 47 16 18 10 12 10 44 71 4 8 49 4 7 33 9 9 7 11 7 17 7 11 13 19 5 16 41 14 34 35
48 9 96 25 50 46 16 7 43 45 11 8 9 86 52 8 6 13 207 10 14 15 7 6 77 5 9 30 3 9 4 23 70 9 27 71 8
26 8 16 9 13 10 8 11 33 11 28 7 10 32 22 7 5 24 38 10 15 8 14 10 7 4 19 56 14 58 32 82 74 15 47 17
44 15 50 48
"""


def test_delong_gives_the_published_values():
    """Of pROC 1.19's own tests: areas of its manual, Z and p of roc.test(wfns, s100b)."""
    poor, wfns = (np.array(list("".join(text.split())), int) for text in (POOR, WFNS))
    s100b = np.array(S100B_HUNDREDTHS.split(), int) / 100
    one, other, z, p = compare_aurocs(poor == 1, wfns, s100b)
    assert (round(one, 4), round(other, 4)) == (0.8237, 0.7314)
    assert z == pytest.approx(2.20898359144091, rel=1e-9)
    assert p == pytest.approx(0.0271757822291882, rel=1e-9)
    assert compare_aurocs(poor == 1, wfns, 2 * wfns)[2:] == (0, 1)


def test_mcnemar_and_holm_by_hand(tmp_path):
    """9 of 180 images, all one way, are the least that differ after Holm over 10 pairs."""
    right = predictions([[60, 0, 0], [0, 60, 0], [0, 0, 60]])
    counts = {"netA": 0, "netB": 8, "netC": 9, "netD": 0, "netE": 0}
    paths = {}
    for net, wrong in counts.items():
        table = right.copy()
        table.loc[: wrong - 1, "predicted"] = "covid19"
        paths[net] = tmp_path / f"{net}.csv"
        table.to_csv(paths[net], index=False)
    compare_nets(paths, tmp_path / "comparisons.csv")
    table = pd.read_csv(tmp_path / "comparisons.csv").set_index(["net", "other"])
    assert len(table) == 10
    assert table.p[("netA", "netB")] == pytest.approx(2 / 2**8)
    assert table.p_holm[("netA", "netC")] == pytest.approx(10 * 2 / 2**9)
    assert table.smallest.unique() == [9]
    assert table.finding[("netA", "netC")].startswith("netA is better (p = 0.039")
    assert table.finding[("netA", "netB")].startswith("not told apart: nothing below 9 of 180")


def test_nets_of_other_images_are_not_compared(tmp_path):
    first, second = predictions(TABLE_2), predictions(TABLE_2).iloc[1:]
    first.to_csv(tmp_path / "a.csv"), second.to_csv(tmp_path / "b.csv")
    with pytest.raises(InputError, match=r"b\.csv: the test images differ"):
        compare_nets({"netA": tmp_path / "a.csv", "netB": tmp_path / "b.csv"}, tmp_path / "out")


def test_interval_of_no_trial_is_not_a_number():
    assert np.isnan(proportion_interval(0, 0)).all()


def test_calibration_error_by_hand():
    confidence, right = np.array([0.95, 0.95, 0.55]), np.array([True, False, True])
    assert expected_calibration_error(confidence, right) == pytest.approx(
        2 / 3 * 0.45 + 1 / 3 * 0.45
    )


def run(tmp_path, table, name="predictions.csv"):
    table.to_csv(tmp_path / name, index=False)
    paths = [tmp_path / f"{out}.csv" for out in ("confusion", "metrics", "summary")]
    evaluate(tmp_path / name, *paths, seed=0)
    return pd.read_csv(paths[0])


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.csv.gz"])
def test_last_phase_and_edited_images_count(tmp_path, name):
    good = predictions(TABLE_2).assign(phase=4, version="edited")
    bad = predictions([[0, 60, 0], [60, 0, 0], [60, 0, 0]])
    table = pd.concat(
        [bad.assign(phase=1, version="edited"), good, bad.assign(phase=4, version="unedited")]
    )
    assert (run(tmp_path, table, name)[list(CLASSES)].to_numpy() == TABLE_2).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"class": "flu"}, "line 2, .*'flu' in the column 'class', expected one of"),
        ({"covid19": np.nan}, "'' in the column 'covid19', expected a number"),
        ({"image": "a.png"}, "found 'a.png' twice"),
        ({"phase": ["two", *[2] * 179]}, "phases that are no whole numbers"),
        ({"version": ["editet", *["edited"] * 179]}, "1 to 179 images in a phase and version"),
    ],
)
def test_bad_predictions_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        run(tmp_path, predictions(TABLE_2).assign(**change))
    assert not (tmp_path / "confusion.csv").exists()
