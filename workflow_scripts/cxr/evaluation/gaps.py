"""Scores of a part of the images, and gaps between such scores, with intervals by patient."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import norm

from cxr.evaluation.intervals import (
    Z,
    auroc_interval,
    group_variance,
    score_interval,
    share_interval,
)
from cxr.evaluation.scores import auroc


class Estimate(NamedTuple):
    """A score, its 95 % interval (nan: unknown), and how far each image moves it, (n,).

    The influence of an image that the score isn't of is 0. size: numbers of positive and of other
    images that it is of, or the number of images.
    """

    value: float
    low: float
    high: float
    influence: np.ndarray
    size: tuple[int, int] | int


def area_of(positive, scores, patients, chosen):
    """AUROC of the chosen images, an Estimate.

    positive, chosen: bool (n,), with some chosen of each kind; scores, patients: (n,).
    """
    influence = np.zeros(len(scores))
    value, influence[chosen] = auroc(positive[chosen], scores[chosen])
    size = int(positive[chosen].sum()), int((~positive[chosen]).sum())
    bounds = auroc_interval(value, influence[chosen], patients[chosen], [size])
    return Estimate(value, *bounds, influence, size)


def share_of(events, patients, chosen):
    """Share of the chosen images that are events, both bool (n,), an Estimate."""
    n, value = int(chosen.sum()), events[chosen].mean()
    influence = np.where(chosen, (events - value) / n, 0.0)
    bounds = share_interval(events[chosen], patients[chosen])
    return Estimate(value, *bounds, influence, n)


def mean_of(estimates, patients, chosen):
    """Mean of AUROCs, or of shares, of the chosen images or of parts of them, an Estimate."""
    value = float(np.mean([one.value for one in estimates]))
    influence = np.mean([one.influence for one in estimates], axis=0)
    sizes, groups = [one.size for one in estimates], patients[chosen]
    if isinstance(sizes[0], tuple):
        bounds = auroc_interval(value, influence[chosen], groups, sizes)
    else:
        most = len(sizes) ** 2 / sum(1 / size for size in sizes)
        bounds = score_interval(value, influence[chosen], groups, most)
    return Estimate(value, *bounds, influence, sizes)


def gap_of(one, other, patients):
    """one - other, Estimates that may share patients: (gap, low, high, p); nan: unknown.

    The interval combines those of the two (Zou 2007, doi 10.1037/1082-989X.12.4.399), so that it
    is no narrower near 0 and 1 than they are. p is two-sided, and below 0.05 where the interval
    leaves out 0: z is the gap by its distance to the end of the interval towards 0.
    """
    gap = one.value - other.value
    ours, theirs = (np.bincount(patients, each.influence) for each in (one, other))
    scale = np.sqrt((ours**2).sum() * (theirs**2).sum())
    shared = (ours * theirs).sum() / scale if scale > 0 else 0.0

    def reach(first, second):
        return np.sqrt(max(first**2 + second**2 - 2 * shared * first * second, 0))

    low = gap - reach(one.value - one.low, other.high - other.value)
    high = gap + reach(one.high - one.value, other.value - other.low)
    to_0 = gap - low if gap > 0 else high - gap
    return gap, low, high, 2 * norm.sf(Z * abs(gap) / to_0) if to_0 > 0 else np.nan


def kappa_of(one, other, patients):
    """Agreement of two sets of labels beyond chance, an Estimate (Cohen 1960).

    one, other: bool (n,), of the same images, some of each kind in each (doi
    10.1177/001316446002000104). Its interval is that of a concordance correlation, which it is, by
    Fisher's z (Lin 1989, doi 10.2307/2532051), with the standard error of the linearised kappa, by
    patient; not a number where all images agree, or none does.
    """
    equal, shares = one == other, np.array([one.mean(), other.mean()])
    chance = shares.prod() + (1 - shares).prod()
    value = (equal.mean() - chance) / (1 - chance)
    moved = np.where(one, shares[1], 1 - shares[1]) + np.where(other, shares[0], 1 - shares[0])
    slope = (equal.mean() - 1) / (1 - chance) ** 2  # of kappa over chance agreement
    influence = (equal - equal.mean()) / (1 - chance) + slope * (moved - 2 * chance)
    influence /= len(one)
    if abs(value) == 1:
        return Estimate(value, np.nan, np.nan, influence, len(one))
    reach = Z * np.sqrt(group_variance(influence, patients)) / (1 - value**2)
    z = np.arctanh(value)
    return Estimate(value, np.tanh(z - reach), np.tanh(z + reach), influence, len(one))


def youden_threshold(positive, scores):
    """The score from which an image counts as positive, so that Youden's index is largest.

    positive: bool (n,), some of each kind; scores: (n,). Of thresholds with the same index, the
    lowest: fewer positives are missed. Youden 1950, Cancer 3, 32.
    """
    counts = pd.DataFrame({"score": scores, "yes": positive, "no": ~positive})
    counts = counts.groupby("score").sum()
    below = counts.cumsum() - counts
    index = below.no / counts.no.sum() - below.yes / counts.yes.sum()
    return index[np.isclose(index, index.max(), rtol=0, atol=1e-12)].index[0]
