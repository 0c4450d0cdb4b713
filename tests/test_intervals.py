"""Intervals and tests: limits that are known, and groups of images that count as one."""

import itertools

import numpy as np
import pytest

pytest.importorskip("statsmodels")
from cxr.evaluation.intervals import (
    MIN_GROUPS,
    auroc_interval,
    bounded_interval,
    design_effect,
    exchange_test,
    group_variance,
    images_needed,
    mean_interval,
    paired_interval,
    proportion_interval,
    share_interval,
)
from cxr.evaluation.scores import auroc
from statsmodels.stats.contingency_tables import mcnemar


def test_auroc_of_one_is_uncertain():
    """Newcombe's limit for 20 positive images and 40 others, by his formula: 1 - A = z^2 V(A)."""
    positive = np.arange(60) < 20
    area, influence = auroc(positive, positive.astype(float))
    low, high = auroc_interval(area, influence, np.arange(60), [(20, 40)])
    spread = low * (1 - low) * (1 + 29 * ((1 - low) / (2 - low) + low / (1 + low))) / 800
    assert (area, high) == (1, 1) and 0.9 < low < 0.95
    assert (1 - low) ** 2 == pytest.approx(1.959964**2 * spread, rel=1e-5)


def test_variance_counts_groups_and_their_number_by_hand():
    """Sums of two groups of two images: 0.4 and -0.4; 4 images are worth (3/4) / (1/2) as 2."""
    influence, groups = np.array([0.3, 0.1, -0.2, -0.2]), np.array([7, 7, 3, 3])
    assert group_variance(influence, groups) == pytest.approx(0.32 * 1.5)
    assert group_variance(influence, np.arange(4)) == pytest.approx(0.18)
    assert np.isnan(group_variance(influence, np.zeros(4)))


def test_images_of_a_group_that_differ_are_not_worth_more():
    pairs, groups = np.tile([1.0, 0.0], 10), np.arange(20) // 2
    assert design_effect(pairs, groups) == 1
    assert design_effect(np.sort(pairs), groups) == pytest.approx(2 * (19 / 20) / (9 / 10))


@pytest.mark.parametrize("n_areas", [1, 3])
def test_auroc_that_hardly_moves_is_not_surer_than_independent_areas(n_areas):
    sizes = [(20, 40)] * n_areas
    low, _ = auroc_interval(0.95, np.tile([1e-6, -1e-6], 30), np.arange(60), sizes)
    spread = low * (1 - low) * (1 + 29 * ((1 - low) / (2 - low) + low / (1 + low))) / 800
    assert (0.95 - low) ** 2 == pytest.approx(1.959964**2 * spread / n_areas, rel=1e-5)


def test_images_needed_by_hand():
    """8 and 2 of 180: 10 differ, by 6 (Connor 1987); images that are there twice count once."""
    differences, groups = np.array([1] * 8 + [-1] * 2 + [0] * 170), np.arange(180)
    square, mean = 10 / 180, 6 / 180
    shown = (1.959964 * square**0.5 + 0.841621 * (square - mean**2) ** 0.5) ** 2 / mean**2
    assert images_needed(differences, groups) == np.ceil(shown)
    equal = (1.959964 + 1.281552) ** 2 * square / 0.01**2
    assert images_needed(differences, groups, within=0.01) == np.ceil(equal)
    twice = images_needed(np.repeat(differences, 2), np.repeat(groups, 2))
    assert twice == pytest.approx(2 * shown, rel=0.01)
    assert np.isnan(images_needed(np.zeros(180), groups))


def test_interval_of_shares_is_the_exact_one_and_of_repeated_images_no_narrower():
    right = np.arange(12) < 7
    exact = proportion_interval(7, 12)
    bounded = bounded_interval(right.astype(float), 0, 1, np.arange(12), 0)
    assert bounded == pytest.approx(exact, abs=0.02)
    twice, groups = np.repeat(right, 2), np.repeat(np.arange(12), 2)
    assert bounded_interval(twice.astype(float), 0, 1, groups, 0) == pytest.approx(exact, abs=0.02)


def test_one_group_counts_as_one_image():
    right, groups = np.array([True, True, False, True]), np.zeros(4, int)
    low, high = share_interval(right, groups)
    assert (low, high) == pytest.approx(proportion_interval(0.75, 1))
    assert share_interval(right[:2], groups[:2]) == pytest.approx(proportion_interval(1, 1))
    low, high = paired_interval(right.astype(int), groups)
    assert low < -0.2 and high > 0.7
    low, high = bounded_interval(right.astype(float), 0, 1, groups, 0)
    assert low < 0.1 and high > 0.95


def test_few_values_have_no_interval_and_skewed_ones_an_uneven_one():
    values = np.random.default_rng(0).exponential(size=MIN_GROUPS)
    groups = np.arange(MIN_GROUPS)
    low, high = mean_interval(values, groups, 0)
    reach = 2.093024 * values.std(ddof=1) / np.sqrt(MIN_GROUPS)  # Student's t, 19 degrees
    assert values.mean() - low == pytest.approx(reach) and high - values.mean() > 1.2 * reach
    low, high = mean_interval(np.repeat(values, 3), np.repeat(groups, 3), 0)
    assert values.mean() - low == pytest.approx(reach), "three images of each say no more"
    assert mean_interval(values, groups, 0, (low + 0.1, 1)) == (low + 0.1, 1) and high > 1
    assert np.isnan(mean_interval(values[1:], groups[1:], 0)).all()
    assert np.isnan(mean_interval(values, groups // 2, 0)).all()
    assert np.isnan(mean_interval(np.full(MIN_GROUPS, 0.1), groups, 0)).all()
    assert np.isnan(mean_interval(np.where(groups < 1, 1.0, 0.1), groups, 0)).all(), "one differs"


def test_interval_moves_with_the_values_of_unequal_groups():
    groups = np.repeat(np.arange(30), np.arange(30) % 3 + 1)
    values = np.random.default_rng(0).normal(size=60)
    found, moved = (np.array(mean_interval(values + by, groups, 0)) for by in (0, 10))
    assert moved - 10 == pytest.approx(found)


def test_exchange_test_is_mcnemar_s_and_counts_groups():
    differences = np.array([1] * 8 + [-1] * 2 + [0] * 50)
    exact = mcnemar([[0, 8], [2, 0]], exact=True).pvalue
    assert exchange_test(differences, np.arange(60)) == pytest.approx(exact)
    groups = np.minimum(np.arange(60) // 3, 4)  # sums of groups: 3, 3, 1, -1, 0
    signs = np.array(list(itertools.product([1, -1], repeat=4)))
    expected = (abs(signs @ [3, 3, 1, -1]) >= 6).mean()
    assert exchange_test(differences, groups) == pytest.approx(expected)


def test_paired_interval_by_hand():
    """Bonett and Price: 9 and 3 of 182 with one more each: 6 / 182, and its spread."""
    differences = np.array([1] * 8 + [-1] * 2 + [0] * 170)
    reach = 1.959964 * np.sqrt((12 / 182 - (6 / 182) ** 2) / 182)
    expected = 6 / 182 - reach, 6 / 182 + reach
    assert paired_interval(differences, np.arange(180)) == pytest.approx(expected, rel=1e-5)
    low, high = paired_interval(np.repeat(differences, 2), np.repeat(np.arange(180), 2))
    assert high - low == pytest.approx(2 * reach, rel=0.02)


def test_interval_of_no_trial_is_not_a_number():
    assert np.isnan(proportion_interval(0, 0)).all()
