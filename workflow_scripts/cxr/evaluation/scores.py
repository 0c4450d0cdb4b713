"""Confusion matrix and scores of predictions, with 95 % confidence intervals."""

import numpy as np
import pandas as pd
from scipy.stats import norm, rankdata
from sklearn.metrics import confusion_matrix

from cxr.data.covid19 import CLASSES
from cxr.evaluation.intervals import (
    BOOTSTRAP_SAMPLES,
    auroc_interval,
    bounded_interval,
    group_variance,
    score_interval,
    share_interval,
)
from cxr.evaluation.predictions import image_groups


def confusion(table):
    """Confusion matrix as a table: column class (the true one), then a column per predicted one."""
    counts = confusion_matrix(table["class"], table.predicted, labels=CLASSES)
    matrix = pd.DataFrame(counts, columns=list(CLASSES))
    matrix.insert(0, "class", CLASSES)
    return matrix


def class_scores(counts):
    """Recall, precision and F1 of each class and, last, their means.

    counts: confusion matrices (..., 3, 3), rows true. Returns (..., 4, 3). 0 / 0 counts as 0.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    ratios = (right / np.maximum(true, 1), right / np.maximum(predicted, 1))
    scores = np.stack([*ratios, 2 * right / np.maximum(true + predicted, 1)], axis=-1)
    return np.concatenate([scores, scores.mean(axis=-2, keepdims=True)], axis=-2)


def metrics(table):
    """Scores per class and their mean: recall, precision and F1, each with its interval, and n.

    Recall, precision and, by way of the share TP / (TP + FP + FN), F1 of a class are shares of
    images (Lam et al. 2023, arXiv 2309.14621). The interval of mean recall, where classes are
    equally large, is the accuracy's. A score that is 0 / 0 has no interval, nor has its mean.
    """
    scores = class_scores(confusion(table)[list(CLASSES)].to_numpy())
    groups = image_groups(table)
    true, predicted = (
        table[name].to_numpy()[:, None] == np.array(CLASSES) for name in ("class", "predicted")
    )
    both, either = true & predicted, true | predicted
    bounds = np.full((4, 3, 2), np.nan)
    for column, (part, whole) in enumerate(((both, true), (both, predicted), (both, either))):
        for row in range(3):
            images = whole[:, row]
            bounds[row, column] = share_interval(part[images, row], groups[images])
    bounds[:3, 2] = 2 * bounds[:3, 2] / (1 + bounds[:3, 2])  # F1 of J
    parts = ((both, true), (both, predicted), (2 * both, true.astype(int) + predicted))
    sizes = [whole.sum(axis=0) for whole in (true, predicted, either)]
    for column, ((part, whole), size) in enumerate(zip(parts, sizes, strict=True)):
        if size.all():
            influence = ((part - scores[:3, column] * whole) / whole.sum(axis=0)).mean(axis=1)
            most = min(9 / (1 / size).sum(), len(table))
            bounds[3, column] = score_interval(scores[3, column], influence, groups, most)
    result = pd.DataFrame({"class": [*CLASSES, "mean"]})
    for column, name in enumerate(("recall", "precision", "f1")):
        result[name] = scores[:, column]
        result[f"{name}_low"], result[f"{name}_high"] = bounds[:, column].T
    result["n"] = [*true.sum(axis=0), len(table)]
    return result


def auroc(positive, scores):
    """AUROC of scores, (n,), and how far each image moves it from its value, (n,).

    positive: bool (n,). DeLong et al. 1988, doi 10.2307/2531595: the squares of the influences add
    up to its variance. Not a number: both without positive or other images; the influences if there
    is one of a kind.
    """
    if positive.all() or not positive.any():
        return np.nan, np.full(len(scores), np.nan)
    ranks, sizes = rankdata(scores), np.where(positive, positive.sum(), (~positive).sum())
    wins = np.empty(len(scores))
    for of_kind in (positive, ~positive):
        wins[of_kind] = ranks[of_kind] - rankdata(scores[of_kind])
    wins /= len(scores) - sizes
    wins[~positive] = 1 - wins[~positive]
    area = wins[positive].mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        return area, (wins - area) / np.sqrt(sizes * (sizes - 1))


def macro_auroc(table, classes=CLASSES):
    """Mean over classes of the AUROC of one class against the rest, with its interval."""
    positive = [(table["class"] == name).to_numpy() for name in classes]
    found = [auroc(c, table[name].to_numpy()) for c, name in zip(positive, classes, strict=True)]
    areas, influences = zip(*found, strict=True)
    sizes = [(c.sum(), (~c).sum()) for c in positive]
    area, influence = np.mean(areas), np.mean(influences, axis=0)
    return area, *auroc_interval(area, influence, image_groups(table), sizes)


def compare_aurocs(positive, one, other, groups=None):
    """DeLong's test of two AUROCs of the same images: (one area, other area, z, two-sided p).

    positive: bool (n,). one, other: scores, (n,). DeLong et al. 1988, doi 10.2307/2531595; with
    groups, (n,), by Obuchowski 1997, doi 10.2307/2533958. Areas that never differ give z 0, p 1.
    """
    (area, influence), (other_area, other_influence) = (auroc(positive, s) for s in (one, other))
    groups = np.arange(len(positive)) if groups is None else groups
    spread = np.sqrt(group_variance(influence - other_influence, groups))
    z = (area - other_area) / spread if spread > 1e-12 else 0.0
    return area, other_area, float(z), float(2 * norm.sf(abs(z)))


def summary(table, seed):
    """One row: accuracy, macro AUROC and Brier score with intervals, n, errors and ECE.

    The ECE has no interval: it is biased upwards, the more so the fewer images there are.
    `ece_calibrated` is what a calibrated net with these sigmoids would have on average.
    """
    n, groups = len(table), image_groups(table)
    right = (table["class"] == table.predicted).to_numpy()
    low, high = share_interval(right, groups)
    sigmoids = table[list(CLASSES)].to_numpy(dtype=float)
    labels = table["class"].to_numpy()[:, None] == np.array(CLASSES)
    area, auc_low, auc_high = macro_auroc(table)
    brier = ((sigmoids - labels) ** 2).sum(axis=1)
    brier_low, brier_high = bounded_interval(brier, 0, len(CLASSES), groups, seed)
    confidence = sigmoids.max(axis=1)
    return pd.DataFrame(
        [
            {
                "accuracy": right.mean(),
                "accuracy_low": low,
                "accuracy_high": high,
                "n": n,
                "errors": int((~right).sum()),
                "macro_auc": area,
                "macro_auc_low": auc_low,
                "macro_auc_high": auc_high,
                "brier": brier.mean(),
                "brier_low": brier_low,
                "brier_high": brier_high,
                "ece": calibration_error(confidence, right),
                "ece_calibrated": calibrated_error(confidence, seed),
            }
        ]
    )


def calibration_error(confidence, right, n_bins=10):
    """Expected calibration error (Guo et al. 2017, arXiv 1706.04599).

    Mean gap between the decision's sigmoid, (n,), and the share of right ones, (..., n), in n_bins
    equal bins: (...).
    """
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    gaps = (confidence - right) @ np.eye(n_bins)[bins]
    return np.abs(gaps).sum(axis=-1) / len(confidence)


def calibrated_error(confidence, seed):
    """Mean ECE of nets whose decisions are right as often as their sigmoids say, (n,).

    What an ECE has to be compared with (Bröcker and Smith 2007, doi 10.1175/WAF993.1).
    """
    chances = np.random.default_rng(seed).random((BOOTSTRAP_SAMPLES, len(confidence)))
    return calibration_error(confidence, chances < confidence).mean()
