"""Claims about nets, on predictions whose answer is known."""

import numpy as np
import pandas as pd
import pytest
from cxr.data.covid19 import CLASSES
from judge_claims import judge_claims
from statsmodels.stats.contingency_tables import mcnemar

N = 180


def write_net(path, wrong, phases=(1,)):
    """Predictions of 180 images that are right but for the images at these places."""
    true = np.repeat(CLASSES, N // 3)
    table = pd.DataFrame({"image": [f"{n}.png" for n in range(N)], "class": true})
    table["predicted"] = table["class"].where(~table.index.isin(wrong), np.roll(true, N // 3))
    table[list(CLASSES)] = (table.predicted.to_numpy()[:, None] == np.array(CLASSES)) * 1.0
    tables = [table.assign(phase=phase, version="edited") for phase in phases]
    pd.concat(tables).to_csv(path, index=False)
    return path


def judged(folder, wrong, **claim):
    """Rows of claims.csv by source, of one claim about nets, {net: places of errors}."""
    paths = {net: write_net(folder / f"{net}.csv", places) for net, places in wrong.items()}
    claims = [{"claim": "a claim", "better": ["netC"], "other": ["netB"]} | claim]
    judge_claims(paths, claims, {"netA": 0.994, "netC": 0.994}, N, folder / "claims.csv")
    return pd.read_csv(folder / "claims.csv").set_index("source")


@pytest.mark.parametrize(
    ("better", "other", "finding"),
    [
        (range(2), range(12), "shown"),
        (range(12), range(2), "contradicted: the other is better"),
        (range(2), range(5), "not shown: the order may be chance"),
        (range(2), range(2, 4), "not shown: no difference"),
    ],
)
def test_order_of_two_nets(tmp_path, better, other, finding):
    row = judged(tmp_path, {"netC": better, "netB": other}).loc["this run"]
    only = len(set(other) - set(better)), len(set(better) - set(other))
    assert (row.only_better_right, row.only_other_right) == only
    assert row.difference == pytest.approx((only[0] - only[1]) / N)
    assert row.p == pytest.approx(min(1, mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue))
    assert row.finding == finding
    assert row.difference_low < row.difference < row.difference_high


def test_images_needed_show_the_difference(tmp_path):
    """Of 3 % and 1 % of images right by one net only: by simulation, 80 % of test sets show it."""
    row = judged(tmp_path, {"netC": range(180 // 90), "netB": range(2, 8)}).loc["this run"]
    rng, n = np.random.default_rng(0), int(row.images_needed)
    counts = rng.multinomial(n, [6 / N, 2 / N, 1 - 8 / N], 1000)
    shown = [mcnemar([[0, a], [b, 0]], exact=False).pvalue < 0.05 for a, b, _ in counts]
    assert np.mean(shown) == pytest.approx(0.8, abs=0.06)


def test_groups_of_nets_are_compared_by_their_means(tmp_path):
    wrong = {"netA": range(2), "netC": range(2), "netD": range(20), "netE": range(14)}
    claim = {"better": ["netA", "netC"], "other": ["netD", "netE"]}
    row = judged(tmp_path, wrong, **claim).loc["this run"]
    assert row.difference == pytest.approx((2 - 17) / -N)
    assert row.finding == "shown" and row.p == pytest.approx(2 / 2**18)
    assert np.isnan(row.only_better_right)


def test_nets_are_equal_only_if_the_interval_says_so(tmp_path):
    few = judged(tmp_path, {"netC": [0], "netB": [1]}, within=0.01).loc["this run"]
    assert few.finding == "not shown: they may differ by up to 2.2%" and few.images_needed > N
    wide = judged(tmp_path, {"netC": [0], "netB": [1]}, within=0.05).loc["this run"]
    assert wide.finding == "shown: they differ by less than 5%"


def test_what_the_paper_s_numbers_can_say(tmp_path):
    """C has one error. By McNemar's test 8 to 1 and 6 to 0 differ, 7 to 1 and 5 to 0 do not."""
    row = judged(tmp_path, {"netC": [0], "netB": [1]}).loc["paper"]
    assert np.isnan(row.p)
    assert "no accuracy of netB" in row.finding
    assert "at most 172 of 180 right" in row.finding and "up to 173" in row.finding
    equal = judged(
        tmp_path, {"netA": [0], "netC": [1]}, better=["netA"], other=["netC"], within=0.01
    ).loc["paper"]
    assert (equal.difference, equal.p) == (0, 1)
    assert equal.finding == "not shown: they may differ by up to 2.2%"


def test_a_claim_may_be_about_an_earlier_phase(tmp_path):
    for net, wrong in {"netC": range(2), "netB": range(12)}.items():
        early = write_net(tmp_path / "1.csv", wrong), write_net(tmp_path / "2.csv", [], phases=(2,))
        pd.concat(map(pd.read_csv, early)).to_csv(tmp_path / f"{net}.csv", index=False)
    paths = {net: tmp_path / f"{net}.csv" for net in ("netB", "netC")}
    claim = {"claim": "a claim", "better": ["netC"], "other": ["netB"]}
    judge_claims(paths, [claim, claim | {"phase": 1}], {}, N, tmp_path / "claims.csv")
    table = pd.read_csv(tmp_path / "claims.csv")
    found = table[table.source == "this run"].finding.tolist()
    assert found == ["not shown: no difference", "shown"]
