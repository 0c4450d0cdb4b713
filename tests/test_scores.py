"""Fed with the paper's table 2, the scores are those of its table 3."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
from compare_nets import compare_nets
from cxr.cli import InputError
from cxr.data.covid19 import CLASSES
from cxr.evaluation.intervals import (
    group_variance,
    proportion_interval,
)
from cxr.evaluation.scores import (
    auroc,
    calibrated_error,
    calibration_error,
    class_scores,
    compare_aurocs,
    confusion,
    macro_auroc,
    metrics,
    summary,
)
from evaluate import evaluate
from scipy.stats import binom
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
    table = metrics(predictions(TABLE_2))
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


def test_intervals_hold_the_scores():
    table = predictions([[50, 6, 4], [5, 52, 3], [9, 1, 50]])
    scores, row = metrics(table), summary(table, seed=0).iloc[0]
    for name in ("recall", "precision", "f1"):
        assert (scores[f"{name}_low"] < scores[name]).all()
        assert (scores[name] < scores[f"{name}_high"]).all()
    for name in ("macro_auc", "brier"):
        assert row[f"{name}_low"] < row[name] < row[f"{name}_high"]


def test_class_without_errors_has_an_uncertain_f1():
    """20 of 20: F1 of the exact limit of TP / (TP + FP + FN), 0.8316 (Lam et al. 2023)."""
    table = metrics(predictions([[20, 0, 0], [0, 20, 0], [0, 0, 20]]))
    assert table.f1_low[:3].tolist() == pytest.approx([0.908] * 3, abs=5e-4)
    assert (table.f1_high == 1).all()


@pytest.mark.parametrize("counts", [TABLE_2, [[50, 6, 4], [5, 52, 3], [9, 1, 50]]])
def test_mean_recall_of_equal_classes_has_the_interval_of_the_accuracy(counts):
    table = predictions(counts)
    mean, row = metrics(table).iloc[3], summary(table, 0).iloc[0]
    expected = [row.accuracy_low, row.accuracy_high]
    assert [mean.recall_low, mean.recall_high] == pytest.approx(expected)


def test_small_class_without_errors_leaves_the_mean_uncertain():
    mean = metrics(predictions([[100, 0, 0], [0, 100, 0], [0, 0, 5]])).iloc[3]
    assert mean.recall == 1 and mean.recall_low == pytest.approx(
        proportion_interval(41, 41)[0], abs=2e-3
    )


def test_images_of_a_group_count_less():
    """Groups of five that are right or wrong together: as 36 images that are each by itself."""
    table = predictions([[50, 10, 0], [10, 50, 0], [10, 0, 50]])
    table["group"] = np.arange(len(table)) // 5
    row = summary(table, 0).iloc[0]
    low, high = proportion_interval(30, 36)
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((low, high), abs=3e-3)
    alone, together = (metrics(t) for t in (table.drop(columns="group"), table))
    for name in ("recall", "precision", "f1"):
        width = [(t[f"{name}_high"] - t[f"{name}_low"]).mean() for t in (alone, together)]
        assert width[1] > 1.5 * width[0], name


def test_macro_auroc_equals_scikit_learn_s():
    table = predictions([[10, 2, 1], [3, 9, 0], [1, 1, 8]])
    table[list(CLASSES)] = np.random.default_rng(0).random((len(table), 3)).round(1)
    labels = table["class"].to_numpy()[:, None] == np.array(CLASSES)
    area, low, high = macro_auroc(table)
    assert area == pytest.approx(roc_auc_score(labels, table[list(CLASSES)], average="macro"))
    assert low < area < high


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
    # ci.auc(s100b): 0.6301 to 0.8326
    _, influence = auroc(poor == 1, s100b)
    spread = np.sqrt(group_variance(influence, np.arange(len(poor))))
    assert 2 * 1.959964 * spread == pytest.approx(0.8326 - 0.6301, abs=1e-4)
    # All patients twice, but known to be: nothing is learnt.
    twice = compare_aurocs(*(np.repeat(x, 2) for x in (poor == 1, wfns, s100b, range(len(poor)))))
    assert twice[3] == pytest.approx(p, rel=0.1)


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
    assert table.finding[("netA", "netB")].startswith("no significant difference; one detectable")
    power = binom.sf(8, 180, table.detectable.iloc[0])
    assert power == pytest.approx(0.8) and table.detectable.iloc[0] == pytest.approx(0.06, abs=5e-3)


def test_nets_of_other_images_are_not_compared(tmp_path):
    first, second = predictions(TABLE_2), predictions(TABLE_2).iloc[1:]
    first.to_csv(tmp_path / "a.csv"), second.to_csv(tmp_path / "b.csv")
    with pytest.raises(InputError, match=r"b\.csv: the test images differ"):
        compare_nets({"netA": tmp_path / "a.csv", "netB": tmp_path / "b.csv"}, tmp_path / "out")


def test_calibration_error_by_hand():
    confidence, right = np.array([0.95, 0.95, 0.55]), np.array([True, False, True])
    assert calibration_error(confidence, right) == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.45)


def test_calibrated_net_has_an_error_too():
    """One image with a sigmoid of 0.75: gap 0.25 in three of four cases, else 0.75."""
    assert calibrated_error(np.array([0.75]), 0) == pytest.approx(0.375, abs=0.02)


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
