"""Scores of parts of the images against other implementations, and gaps between them."""

import numpy as np
import pytest
from cxr.evaluation.gaps import (
    Estimate,
    area_of,
    gap_of,
    kappa_of,
    mean_of,
    share_of,
    youden_threshold,
)
from cxr.evaluation.intervals import proportion_interval
from sklearn.metrics import cohen_kappa_score, confusion_matrix, roc_auc_score, roc_curve
from statsmodels.stats.inter_rater import cohens_kappa

N = 200


@pytest.fixture
def images():
    """Labels, scores that follow them, and a part of 200 images: (positive, scores, chosen)."""
    rng = np.random.default_rng(0)
    positive = rng.random(N) < 0.3
    return positive, (positive + rng.normal(size=N)).round(1), rng.random(N) < 0.6


def test_area_is_that_of_the_chosen_images_alone(images):
    positive, scores, chosen = images
    found = area_of(positive, scores, np.arange(N), chosen)
    assert found.value == pytest.approx(roc_auc_score(positive[chosen], scores[chosen]))
    assert found.low < found.value < found.high
    assert found.size == (positive[chosen].sum(), (~positive[chosen]).sum())
    assert not found.influence[~chosen].any() and abs(found.influence.sum()) < 1e-12


def test_share_of_images_that_are_patients_has_the_exact_interval(images):
    positive, _, chosen = images
    found = share_of(positive, np.arange(N), chosen)
    n = chosen.sum()
    assert found.value == positive[chosen].mean()
    assert found[1:3] == pytest.approx(proportion_interval(positive[chosen].sum(), n))


@pytest.mark.parametrize("score", ["area", "share", "mean of areas", "mean of shares", "kappa"])
def test_copies_of_a_patients_images_tell_nothing_new(images, score):
    """An interval of four equal images a patient is as wide as of one, and not half as wide."""

    def widths(times):
        positive, scores, chosen = (np.repeat(values, times) for values in images)
        patients = np.repeat(np.arange(N), times)
        areas = [area_of(positive, values, patients, chosen) for values in (scores, scores**3)]
        shares = [share_of(scores > limit, patients, chosen) for limit in (0, 1)]
        found = {
            "area": areas[0],
            "share": shares[0],
            "mean of areas": mean_of(areas, patients, chosen),
            "mean of shares": mean_of(shares, patients, chosen),
            "kappa": kappa_of(positive, scores > 0, patients),
        }[score]
        return found.high - found.low

    assert widths(4) == pytest.approx(widths(1), rel=0.2)


def test_mean_of_shares_without_errors_is_as_sure_as_the_smaller():
    """100 and 5 images: as 4 / (1/100 + 1/5) of them would give the mean its variance."""
    chosen = np.arange(105) < 100
    shares = [share_of(np.ones(105, bool), np.arange(105), part) for part in (chosen, ~chosen)]
    found = mean_of(shares, np.arange(105), np.ones(105, bool))
    assert found.value == found.high == 1
    assert found.low == pytest.approx(0.025 ** (0.21 / 4))


def test_gap_of_groups_without_a_common_patient(images):
    positive, _, chosen = images
    one, other = (share_of(positive, np.arange(N), part) for part in (chosen, ~chosen))
    gap, low, high, p = gap_of(one, other, np.arange(N))
    assert gap == one.value - other.value
    assert low == pytest.approx(gap - np.hypot(one.value - one.low, other.high - other.value))
    assert high == pytest.approx(gap + np.hypot(one.high - one.value, other.value - other.low))
    assert (p < 0.05) == (low > 0 or high < 0)


def test_p_falls_below_5_percent_where_the_interval_leaves_0():
    def at(value):
        influence = np.zeros(4)
        one = Estimate(value, value - 0.1, value + 0.1, influence, 4)
        return gap_of(one, Estimate(0.5, 0.4, 0.6, influence, 4), np.arange(4))

    reach = np.hypot(0.1, 0.1)
    assert at(0.5 + reach)[3] == pytest.approx(0.05)
    assert at(0.5 - reach * 1.01)[3] < 0.05 < at(0.5 - reach * 0.99)[3]
    assert at(0.5)[3] == 1


def test_gap_of_two_scores_of_the_same_images_is_sharper(images):
    """Both move with the same images."""
    positive, scores, _ = images
    patients, everyone = np.arange(N), np.ones(N, bool)
    rng = np.random.default_rng(1)
    one = area_of(positive, scores, patients, everyone)
    near = area_of(positive, scores + rng.normal(scale=0.1, size=N), patients, everyone)
    _, low, high, _ = gap_of(one, near, patients)
    assert high - low < 0.5 * (one.high - one.low)


def test_gap_is_unknown_where_an_interval_is(images):
    positive, scores, chosen = images
    one = area_of(positive, scores, np.arange(N), chosen)
    unknown = one._replace(low=np.nan, high=np.nan)
    gap, *others = gap_of(one, unknown, np.arange(N))
    assert gap == 0 and np.isnan(others).all()


def test_kappa_and_its_error_are_those_of_other_libraries(images):
    one, other = images[0], images[1] > 0.5
    found = kappa_of(one, other, np.arange(N))
    assert found.value == pytest.approx(cohen_kappa_score(one, other))
    expected = cohens_kappa(confusion_matrix(one, other))
    slope = 1 / (1 - found.value**2)  # of Fisher's z
    ends = np.arctanh([found.low, found.high])
    assert ends.mean() == pytest.approx(np.arctanh(found.value))
    assert np.ptp(ends) == pytest.approx(2 * 1.96 * expected.std_kappa * slope, rel=0.01)
    assert np.isnan(kappa_of(one, one, np.arange(N))[1:3]).all(), "no image disagrees: unknown"


def test_threshold_has_the_largest_youden_index(images):
    positive, scores, _ = images
    misses, hits, thresholds = roc_curve(positive, scores, drop_intermediate=False)
    best = (hits - misses).max()
    expected = thresholds[np.isclose(hits - misses, best)].min()
    assert youden_threshold(positive, scores) == expected
