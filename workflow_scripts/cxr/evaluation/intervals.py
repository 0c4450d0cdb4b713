"""95 % confidence intervals and tests, by group of images.

Images of a group (of one patient, or duplicates of each other) are not independent: wherever a
function is given groups, it counts by group. benchmarks/measure_coverage.py measures how often
these intervals hold the true value.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm, t
from statsmodels.stats.proportion import proportion_confint

BOOTSTRAP_SAMPLES = 2000
MIN_GROUPS = 20  # of fewer values the mean has no interval: of those tried none is wide enough
LEVEL = 0.05  # of tests
Z = norm.ppf(0.975)


def proportion_interval(successes, n):
    """Exact (Clopper-Pearson) 95 % interval of a proportion; not a number where n is 0.

    n need not be whole: it may be the number of independent images that tell as much.
    """
    if not n > 0:
        return np.nan, np.nan
    return proportion_confint(successes, n, method="beta")


def _numbered(groups):
    """Groups as numbers from 0 without gaps, (n,)."""
    return np.unique(groups, return_inverse=True)[1]


def group_variance(influence, groups):
    """Variance of a score. influence: how far each image moves it from its value, (n,), sum 0.

    groups: (n,). What images of a group do adds up (Obuchowski 1997, doi
    10.2307/2533958, for AUROCs; the ratio estimate of survey statistics for proportions).
    Not a number where there is one group.
    """
    by_group = np.bincount(_numbered(groups), influence)
    n, n_groups = len(influence), len(by_group)
    if n_groups < 2:
        return np.nan
    return (by_group**2).sum() * (1 - 1 / n) / (1 - 1 / n_groups)


def design_effect(values, groups):
    """The variance of a mean, (n,), by group over that of independent images; 1 at least."""
    influence = (values - values.mean()) / len(values)
    alone, by_group = (influence**2).sum(), group_variance(influence, groups)
    if np.isnan(by_group):
        return float(len(values))  # one group counts as one image
    return max(by_group / alone, 1) if alone > 0 else 1.0


def score_interval(value, influence, groups, most):
    """95 % interval of a score between 0 and 1, such as a share, a recall, or a mean of them.

    It is the exact interval of a proportion among as many independent images as would give the
    score its variance, `most` at most (Korn and Graham 1998, Survey Methodology 24, 193). A share
    of n images that are groups of their own has its own exact interval. One group counts as one
    image; where no image moves the score, nothing is known of groups, and all count.
    """
    variance = group_variance(influence, groups)
    if np.isnan(variance):
        return proportion_interval(value, 1)
    n = min(most, value * (1 - value) / variance) if variance > 0 else most
    return proportion_interval(value * n, n)


def share_interval(right, groups):
    """95 % interval of the share of images that are right, bool (n,), by group; see above.

    Not a number where there is no image.
    """
    if not len(right):
        return np.nan, np.nan
    share = right.mean()
    return score_interval(share, (right - share) / len(right), groups, len(right))


def bounded_interval(values, lowest, highest, groups, seed):
    """95 % interval of a mean of values that can't leave a range, however skewed, (n,).

    Each end is a quantile of the mean over random weights of the values and of that end of the
    range (Gaffke 2005; Learned-Miller and Thomas 2019, arXiv 1905.06208); of values 0 and 1 it is
    the exact interval of a proportion. It is rather too wide than too narrow.
    """
    rng = np.random.default_rng(seed)
    weights = rng.gamma(1 / design_effect(values, groups), size=(BOOTSTRAP_SAMPLES, len(values)))
    ends = rng.exponential(size=BOOTSTRAP_SAMPLES)
    sums, total = weights @ values, weights.sum(axis=1) + ends
    low, high = ((sums + ends * end) / total for end in (lowest, highest))
    return max(np.quantile(low, 0.025), lowest), min(np.quantile(high, 0.975), highest)


def mean_interval(values, groups, seed, within=(-np.inf, np.inf)):
    """95 % interval of a mean of numbers, (n,); not a number for fewer than MIN_GROUPS groups.

    The wider, at each end, of Student's t and of the bootstrap of t (Efron and Tibshirani 1993, An
    Introduction to the Bootstrap, chapter 12) at 1.25 and 98.75 %: the first is too narrow for
    skewed values, the second, at 2.5 and 97.5 %, for few skewed values and for groups of unequal
    size. It is cut to the range that the mean can't leave. Not a number either where so few values
    differ from the others that samples have no variance.
    """
    groups = _numbered(groups)
    sums, sizes = np.bincount(groups, values), np.bincount(groups)
    n_groups = len(sizes)
    if n_groups < MIN_GROUPS or np.ptp(values) == 0:
        return np.nan, np.nan

    def mean_and_error(drawn):
        mean = sums[drawn].sum(axis=-1) / sizes[drawn].sum(axis=-1)
        rest = sums[drawn] - mean[..., None] * sizes[drawn]
        variance = (rest**2).sum(axis=-1) / (1 - 1 / n_groups)
        return mean, np.sqrt(variance) / sizes[drawn].sum(axis=-1)

    mean, error = mean_and_error(np.arange(n_groups))
    rng = np.random.default_rng(seed)
    means, errors = mean_and_error(rng.integers(n_groups, size=(BOOTSTRAP_SAMPLES, n_groups)))
    varied = errors > 1e-9 * error
    if varied.mean() < 0.995:
        return np.nan, np.nan
    steps = np.quantile(((means - mean)[varied] / errors[varied]), [0.0125, 0.9875])
    quantile = t.ppf(0.975, n_groups - 1)
    low, high = mean - max(steps[1], quantile) * error, mean - min(steps[0], -quantile) * error
    return max(low, within[0]), min(high, within[1])


def paired_interval(differences, groups):
    """95 % interval of a mean difference of two nets on the same images; differences in [-1, 1].

    Of right ones: 1, 0 or -1. As if there were two images more, on which each net alone is right
    (Bonett and Price 2012, doi 10.3102/1076998611411915).
    """
    n = len(differences) / design_effect(differences, groups)
    middle = n * differences.mean() / (n + 2)
    square = (n * (differences**2).mean() + 2) / (n + 2)
    reach = Z * np.sqrt((square - middle**2) / (n + 2))
    return middle - reach, middle + reach


def auroc_interval(area, influence, groups, sizes):
    """95 % interval of an AUROC, or of the mean of several, by group of images.

    The areas that the found one is no more than 1.96 standard errors away from, by the variance
    that such an area has (Newcombe 2006, doi 10.1002/sim.2324, method 5), in proportion to the
    variance found. That is by group, and not taken for less than that of independent areas: near 1
    it says little, and at 1 nothing. sizes: numbers of positive and of other images of each area.
    """

    def variance(value):
        """Of one area that has this value, independent images, mean of the sizes."""
        found = []
        for positive, others in sizes:
            half = (positive + others) / 2 - 1
            of_pairs = 1 + half * ((1 - value) / (2 - value) + value / (1 + value))
            found.append(value * (1 - value) * of_pairs / (positive * others))
        return np.mean(found)

    def beyond(value):
        return (area - value) ** 2 - Z**2 * design * variance(value)

    known = group_variance(influence, groups)
    if not np.isfinite(known):
        return np.nan, np.nan
    design = max(known / variance(area) if 0 < area < 1 else 0, 1 / len(sizes))
    middle = np.clip(area, 1e-9, 1 - 1e-9)
    low = brentq(beyond, 0, middle) if area > 0 else 0.0
    return low, brentq(beyond, middle, 1) if area < 1 else 1.0


def images_needed(differences, groups, within=None):
    """Images, of as many groups each, on which a mean difference like this one would show.

    With a chance of 80 % its 95 % interval would not hold 0 (Connor 1987, doi 10.2307/2531961, for
    McNemar's test); or, with `within`, would lie within so much of 0 if there were no difference
    (two one-sided tests). differences: (n,), in [-1, 1]. Not a number where no number would do.
    """
    mean, square = differences.mean(), (differences**2).mean()
    reach, power = (mean, norm.ppf(0.8)) if within is None else (within, norm.ppf(0.9))
    if not square or not reach:
        return np.nan
    spread = np.sqrt(square - (mean**2 if within is None else 0))
    design = design_effect(differences, groups)
    return np.ceil(design * (Z * np.sqrt(square) + power * spread) ** 2 / reach**2)


def exchange_test(differences, groups):
    """Two-sided p of the hypothesis that two nets could be exchanged on any group of images.

    differences: whole numbers, (n,). Exact: the share of all exchanges whose sum of differences is
    at least as large as the one found. Of right ones, images being groups of their own, it is
    McNemar's exact test.
    """
    shares = np.ones(1)
    for step in np.abs(np.bincount(_numbered(groups), differences).round().astype(int)):
        if step:
            spread = np.zeros(len(shares) + 2 * step)
            spread[: len(shares)] += shares / 2
            spread[2 * step :] += shares / 2
            shares = spread
    sums = np.arange(len(shares)) - len(shares) // 2
    return min(float(shares[np.abs(sums) >= abs(round(differences.sum()))].sum()), 1.0)
