"""How often the workflow's 95 % intervals hold the true value, by simulation.

Test sets are drawn from populations whose values are known, and evaluated by the workflow's own
functions. The score of class c for an image is a_c if the image is of c, else 0, plus a normal
error of variance 1, of which the share ICC is common to all images of a patient; the largest
score is the prediction. True values are those of a test set of 600,000 images.

Prints a row per scenario, n and score: the share of test sets whose interval holds the true value
(of scores per class, in the class where it is lowest), the mean width, and the share of test sets
for which no interval was given. With 1,000 test sets, 95 % is measured to 0.7 points.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data.covid19 import CLASSES
from cxr.evaluation.metrics import (
    calibration_error,
    class_scores,
    confusion,
    mean_interval,
    metrics,
    summary,
)
from sklearn.metrics import roc_auc_score

ICC = 0.3
# Distances of the classes' scores, and images per patient. Accuracy: 0.985; 0.94; 0.81.
SCENARIOS = {
    "accuracy .985": ((3.40, 3.40, 3.40), 1),
    "accuracy .94, errors in one class": ((4.2, 4.2, 1.78), 1),
    "accuracy .81": ((1.70, 1.70, 1.70), 1),
    "accuracy .985, 2 images a patient": ((3.40, 3.40, 3.40), 2),
    "accuracy .94, 2 images a patient": ((2.58, 2.58, 2.58), 2),
    "accuracy .94, 3 images a patient": ((2.58, 2.58, 2.58), 3),
    "accuracy .81, 3 images a patient": ((1.70, 1.70, 1.70), 3),
}


def draw(rng, n, distances, per_patient):
    """Predictions of n images, equally many of each class, patients in the column group."""
    n_patients = n // per_patient
    patient = np.repeat(np.arange(n_patients), per_patient)
    true = patient % 3
    noise = np.sqrt(ICC) * rng.standard_normal((n_patients, 3))[patient]
    scores = noise + np.sqrt(1 - ICC) * rng.standard_normal((n, 3))
    scores[np.arange(n), true] += np.take(distances, true)
    table = pd.DataFrame(expit(2 * (scores - np.divide(distances, 2))), columns=list(CLASSES))
    table["class"], table["predicted"] = (np.array(CLASSES)[c] for c in (true, scores.argmax(1)))
    return table.assign(group=patient)


def values_of(table, seed):
    """{score: [(value, low, high) of each class, or one]}; low is None where there is none."""
    of_class, whole = metrics(table), summary(table, seed).iloc[0]
    found = {}
    for name in ("recall", "precision", "f1"):
        rows = of_class[[name, f"{name}_low", f"{name}_high"]].to_numpy()
        found[f"{name} of a class"], found[f"mean {name}"] = rows[:3], rows[3:]
    for name in ("accuracy", "macro_auc", "brier", "ece"):
        found[name] = [[whole.get(part, np.nan) for part in (name, f"{name}_low", f"{name}_high")]]
    return {name: np.array(rows, dtype=float) for name, rows in found.items()}


def measure_scores(n_sets):
    for name, (distances, per_patient) in SCENARIOS.items():
        population = draw(np.random.default_rng(0), 600_000, distances, 1)
        true = population_values(population)
        for n in (60, 180):
            rng, found = np.random.default_rng(n), defaultdict(list)
            for seed in range(n_sets):
                for score, rows in values_of(draw(rng, n, distances, per_patient), seed).items():
                    found[score].append(rows)
            for score, rows in found.items():
                report(f"{name}, n = {n}", score, np.array(rows), true[score])


def report(scenario, score, rows, true):
    """Print a line. rows: (sets, values, 3) of value, low and high; true: (values,)."""
    value, low, high = np.moveaxis(rows, -1, 0)
    given = np.isfinite(low)
    if not given.any():
        bias = (value - true).mean()
        print(f"{scenario:50} {score:28} no interval; true {true[0]:.3f}, bias {bias:+.3f}")
        return
    held = np.where(given, (low <= true + 1e-9) & (true - 1e-9 <= high), np.nan)
    coverage = np.nanmean(held, axis=0).min()
    width, none = np.nanmean(high - low), 1 - given.mean()
    print(f"{scenario:50} {score:28} {coverage:6.1%}  width {width:.3f}  none {none:.0%}")
    sys.stdout.flush()


def population_values(table):
    """{score: true values}: of classes, or one. table: predictions of very many images."""
    scores = class_scores(confusion(table)[list(CLASSES)].to_numpy())
    sigmoids, right = table[list(CLASSES)].to_numpy(), table["class"] == table.predicted
    labels = table["class"].to_numpy()[:, None] == np.array(CLASSES)
    true = {
        "accuracy": [right.mean()],
        "macro_auc": [roc_auc_score(labels, sigmoids, average="macro")],
        "brier": [((sigmoids - labels) ** 2).sum(axis=1).mean()],
        "ece": [calibration_error(sigmoids.max(axis=1), right.to_numpy())],
    }
    for number, name in enumerate(("recall", "precision", "f1")):
        true[f"{name} of a class"], true[f"mean {name}"] = np.split(scores[:, number], [3])
    return {name: np.array(values) for name, values in true.items()}


def measure_changes(n_sets):
    """Means of few values: of a normal and of a skewed (log-normal) distribution."""
    for n in (6, 20, 30, 60):
        for name in ("normal", "skewed"):
            rng = np.random.default_rng(n)
            values = rng.standard_normal((n_sets, n))
            true = 0.0
            if name == "skewed":
                values, true = np.exp(values), np.exp(0.5)
            rows = [
                (v.mean(), *mean_interval(v, np.arange(n), seed)) for seed, v in enumerate(values)
            ]
            report(f"{name} changes, n = {n}", "mean", np.array(rows)[:, None], np.array([true]))


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", type=int, default=1000, help="test sets of each scenario")
    chosen = arguments.parse_args()
    measure_changes(chosen.sets)
    measure_scores(chosen.sets)
