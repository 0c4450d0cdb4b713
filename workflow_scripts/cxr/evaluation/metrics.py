"""Confusion matrix and scores, with 95 % confidence intervals."""

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.metrics import confusion_matrix, roc_auc_score
from statsmodels.stats.proportion import proportion_confint

from cxr.cli import InputError
from cxr.data.covid19 import CLASSES
from cxr.tables import read_table

BOOTSTRAP_SAMPLES = 2000


def read_predictions(path):
    """Read predictions: image, class, predicted, a number per class; perhaps phase and version.

    Raises InputError if a column is missing, a class unknown, a value no number, or if an image is
    twice in a phase and version, or they have unequal numbers of images.
    """
    classes = {"class": CLASSES, "predicted": CLASSES}
    table = read_table(path, filled=["image"], numbers=CLASSES, choices=classes, text=["version"])
    if "phase" in table and not pd.api.types.is_integer_dtype(table.phase):
        raise InputError(f"{path}: found phases that are no whole numbers, expected 1, 2, ...")
    parts = [name for name in ("phase", "version") if name in table]
    if (twice := table.duplicated([*parts, "image"])).any():
        raise InputError(f"{path}: found {table.image[twice].iloc[0]!r} twice, expected it once")
    if parts and (n := table.groupby(parts).size()).nunique() > 1:
        raise InputError(
            f"{path}: found {n.min()} to {n.max()} images in a phase and version, expected equally "
            "many in each; is the file cut?"
        )
    return table


def final_predictions(table, version="edited"):
    """Rows of the last phase and one version of the test images, where the table has several."""
    if "phase" in table:
        table = table[table.phase == table.phase.max()]
    if "version" in table:
        table = table[table.version == version]
    return table


def confusion(table):
    """Confusion matrix as a table: column class (the true one), then a column per predicted one."""
    counts = confusion_matrix(table["class"], table.predicted, labels=CLASSES)
    matrix = pd.DataFrame(counts, columns=list(CLASSES))
    matrix.insert(0, "class", CLASSES)
    return matrix


def proportion_interval(successes, n):
    """Exact (Clopper-Pearson) 95 % interval of a proportion; not a number where n is 0."""
    if n == 0:
        return np.nan, np.nan
    return proportion_confint(successes, n, method="beta")


def class_scores(counts):
    """Recall, precision and F1 of each class and, last, their means.

    counts: confusion matrices (..., 3, 3), rows true. Returns (..., 4, 3). 0 / 0 counts as 0.
    """
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(axis=-1), counts.sum(axis=-2)
    ratios = (right / np.maximum(true, 1), right / np.maximum(predicted, 1))
    scores = np.stack([*ratios, 2 * right / np.maximum(true + predicted, 1)], axis=-1)
    return np.concatenate([scores, scores.mean(axis=-2, keepdims=True)], axis=-2)


def bootstrap_weights(table, seed):
    """How often each image is drawn in each bootstrap sample, (samples, n).

    Images of a group (column `group`, of a patient or of duplicates; without it each image is its
    own) are drawn together, and within each class as many groups as it has.
    """
    rng = np.random.default_rng(seed)
    groups = table.group if "group" in table else pd.Series(range(len(table)), table.index)
    group_of = pd.factorize(groups)[0]
    class_of_group = table["class"].groupby(group_of).first()
    drawn = np.zeros((BOOTSTRAP_SAMPLES, len(class_of_group)), dtype=int)
    for name in CLASSES:
        members = np.flatnonzero(class_of_group == name)
        if members.size:
            shares = np.full(members.size, 1 / members.size)
            drawn[:, members] = rng.multinomial(members.size, shares, BOOTSTRAP_SAMPLES)
    return drawn[:, group_of]


def interval(samples):
    """95 % percentile interval along the first axis, (2, ...); samples that are nan don't count."""
    return np.nanpercentile(samples, [2.5, 97.5], axis=0)


def metrics(table, seed):
    """Scores per class and their mean: recall, precision and F1, each with its interval, and n.

    Recall and precision of a class are proportions and get exact intervals; F1 and the means get
    bootstrap intervals.
    """
    counts = confusion(table)[list(CLASSES)].to_numpy()
    scores = class_scores(counts)
    low, high = interval(class_scores(resampled_confusions(table, seed)))
    for row, right in enumerate(np.diagonal(counts)):
        low[row, 0], high[row, 0] = proportion_interval(right, counts[row].sum())
        low[row, 1], high[row, 1] = proportion_interval(right, counts[:, row].sum())
    result = pd.DataFrame({"class": [*CLASSES, "mean"]})
    for column, name in enumerate(("recall", "precision", "f1")):
        result[name] = scores[:, column]
        result[f"{name}_low"], result[f"{name}_high"] = low[:, column], high[:, column]
    result["n"] = [*counts.sum(axis=1), counts.sum()]
    return result


def resampled_confusions(table, seed):
    """Confusion matrices of bootstrap samples, (samples, 3, 3), rows true."""
    cells = np.ravel_multi_index(
        [pd.Categorical(table[name], CLASSES).codes for name in ("class", "predicted")], (3, 3)
    )
    counts = bootstrap_weights(table, seed) @ np.eye(9, dtype=int)[cells]
    return counts.reshape(-1, 3, 3)


def macro_auroc(table, weights):
    """Mean over classes of the area under the ROC of one class against the rest, (samples,).

    weights: (samples, n), how often each image counts. A sample without images of a class, or
    with no others, gives nan.
    """
    areas = []
    for name in CLASSES:
        scores, positive = table[name].to_numpy(), (table["class"] == name).to_numpy()
        wins = np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5
        weighted = np.einsum(
            "sp,pn,sn->s", weights[:, positive], wins, weights[:, ~positive], optimize=True
        )
        pairs = weights[:, positive].sum(axis=1) * weights[:, ~positive].sum(axis=1)
        areas.append(np.divide(weighted, pairs, out=np.full(len(pairs), np.nan), where=pairs > 0))
    return np.mean(areas, axis=0)


def compare_aurocs(positive, one, other):
    """DeLong's test of two AUROCs of the same images: (one area, other area, z, two-sided p).

    positive: bool (n,). one, other: scores, (n,). DeLong et al. 1988, doi 10.2307/2531595. Areas
    that never differ give z 0 and p 1.
    """
    wins = [
        np.sign(scores[positive][:, None] - scores[~positive]) / 2 + 0.5 for scores in (one, other)
    ]
    areas = [float(won.mean()) for won in wins]
    variance = sum(  # of the areas over positive images, and over the others
        np.cov([won.mean(axis=axis) for won in wins]) / n
        for axis, n in zip((1, 0), wins[0].shape, strict=True)
    )
    spread = np.sqrt(variance[0, 0] + variance[1, 1] - 2 * variance[0, 1])
    z = (areas[0] - areas[1]) / spread if spread > 0 else 0.0
    return *areas, float(z), float(2 * norm.sf(abs(z)))


def summary(table, seed):
    """One row: accuracy and macro AUROC with intervals, n, errors, Brier score and ECE."""
    n = len(table)
    right = table["class"] == table.predicted
    low, high = proportion_interval(right.sum(), n)
    sigmoids = table[list(CLASSES)].to_numpy(dtype=float)
    labels = (table["class"].to_numpy()[:, None] == np.array(CLASSES)).astype(float)
    auc_low, auc_high = interval(macro_auroc(table, bootstrap_weights(table, seed)))
    return pd.DataFrame(
        [
            {
                "accuracy": right.mean(),
                "accuracy_low": low,
                "accuracy_high": high,
                "n": n,
                "errors": int((~right).sum()),
                "macro_auc": roc_auc_score(labels, sigmoids, average="macro"),
                "macro_auc_low": auc_low,
                "macro_auc_high": auc_high,
                "brier": float(((sigmoids - labels) ** 2).sum(axis=1).mean()),
                "ece": expected_calibration_error(sigmoids.max(axis=1), right),
            }
        ]
    )


def expected_calibration_error(confidence, right, n_bins=10):
    """Mean gap between the decision's sigmoid and the share of right ones, in n_bins equal bins."""
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return sum(
        (bins == number).mean()
        * abs(confidence[bins == number].mean() - right[bins == number].mean())
        for number in np.unique(bins)
    )
