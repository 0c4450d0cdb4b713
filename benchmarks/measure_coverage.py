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
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from calibrate import fit_temperature, temperature_interval
from collect_replicates import variance_components
from cxr.data.covid19 import CLASSES
from cxr.evaluation.intervals import auroc_interval, mean_interval, paired_interval
from cxr.evaluation.scores import (
    auroc,
    calibration_error,
    class_scores,
    confusion,
    metrics,
    summary,
)

ICC, DISTANCE = 0.3, 1.2  # of a finding: AUROC 0.80
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
    for n in (6, 20, 60):
        for name in ("normal", "skewed"):
            values = np.random.default_rng(n).standard_normal((n_sets, n))
            true = 0.0
            if name == "skewed":
                values, true = np.exp(values), np.exp(0.5)
            rows = [(v.mean(), *mean_interval(v, np.arange(n), s)) for s, v in enumerate(values)]
            report(f"{name} changes, n = {n}", "mean", np.array(rows)[:, None], np.array([true]))


def measure_differences(n_sets):
    """Accuracies of two nets on the same images; the scores of the second are 0.2 or 0.5 lower."""
    for n, per_patient in ((60, 1), (180, 1), (180, 3)):
        for distance in (3.4, 1.7):
            rng, lower = np.random.default_rng(n), 0.5 if distance > 2 else 0.2
            rows = []
            for images in (600_000, *[n] * n_sets):
                patient = np.repeat(np.arange(images // per_patient), per_patient)
                shared = np.sqrt(ICC) * rng.standard_normal((len(patient), 3))[patient]
                shared += np.sqrt((1 - ICC) / 2) * rng.standard_normal((images, 3))
                right = []
                for least in (distance, distance - lower):
                    scores = shared + np.sqrt((1 - ICC) / 2) * rng.standard_normal((images, 3))
                    right.append((scores[:, 0] + least > scores[:, 1:].max(axis=1)).astype(int))
                rows.append((right[0] - right[1], patient))
            true = rows[0][0].mean()
            found = [(d.mean(), *paired_interval(d, patient)) for d, patient in rows[1:]]
            name = f"{per_patient} image(s) a patient, n = {n}, true {true:.3f}"
            report(name, "difference of accuracies", np.array(found)[:, None], np.array([true]))


def measure_findings(n_sets):
    """AUROCs of rare findings, 3 images a patient who mostly shares the finding, by patient."""
    n, true = 1998, norm.cdf(DISTANCE / np.sqrt(2))
    patient = np.repeat(np.arange(n // 3), 3)
    for positive in (12, 30, 300):
        rng, rows = np.random.default_rng(positive), []
        for _ in range(n_sets):
            shared = rng.standard_normal((n // 3, 2))[patient]
            own = rng.standard_normal((n, 2))
            label, score = (np.sqrt(ICC) * shared + np.sqrt(1 - ICC) * own).T
            has = label >= np.sort(label)[-positive]
            area, influence = auroc(has, score + DISTANCE * has)
            rows.append(
                (area, *auroc_interval(area, influence, patient, [(positive, n - positive)]))
            )
        name = f"finding, 3 images a patient, {positive} of {n}"
        report(name, "auroc", np.array(rows)[:, None], np.array([true]))


def measure_temperatures(n_sets):
    """Temperature of validation images, whose logits are three times the scores."""

    def logits_of(rng, n, per_patient):
        table = draw(rng, n, SCENARIOS["accuracy .94, 2 images a patient"][0], per_patient)
        labels = table["class"].to_numpy()[:, None] == np.array(CLASSES)
        return 3 * logit(table[list(CLASSES)].to_numpy()) / 2, labels.astype(float), table.group

    true = fit_temperature(*logits_of(np.random.default_rng(0), 600_000, 1)[:2])
    for n, per_patient in ((120, 1), (402, 1), (402, 3)):
        rng, rows = np.random.default_rng(n), []
        for _ in range(n_sets):
            logits, labels, groups = logits_of(rng, n, per_patient)
            found = fit_temperature(logits, labels)
            bounds = temperature_interval(found, logits, labels, groups.to_numpy())
            rows.append((found or np.nan, *bounds))
        name = f"accuracy .94, {per_patient} image(s) a patient, n = {n}"
        report(name, "temperature", np.array(rows)[:, None], np.array([true]))


def measure_shares(n_sets):
    """Shares of variance of scores of five nets over five splits and five seeds."""
    for true in ([0.5, 0.25, 0.1, 0.15], [0.15, 0.46, 0.08, 0.31], [0.31, 0.03, 0.03, 0.63]):
        rng, sizes = np.random.default_rng(0), ((1, 5, 1), (5, 5, 1), (5, 5, 5))
        nets = np.linspace(-1, 1, 5) / np.linspace(-1, 1, 5).std(ddof=1)
        rows = []
        for seed in range(n_sets):
            parts = [
                np.sqrt(v) * rng.standard_normal(s) for v, s in zip(true[1:], sizes, strict=True)
            ]
            values = np.sqrt(true[0]) * nets[:, None, None] + sum(parts)
            rows.append(variance_components(values, seed).iloc[1:, 2:].to_numpy())
        name = f"true shares of net, split, both, seed {true}"
        report(name, "share of variance", np.array(rows), np.array(true[1:]))


PARTS = {
    "changes": measure_changes,
    "differences": measure_differences,
    "findings": measure_findings,
    "temperatures": measure_temperatures,
    "shares": measure_shares,
    "scores": measure_scores,
}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", type=int, default=1000, help="test sets of each scenario")
    arguments.add_argument("--part", choices=PARTS, help="only this one")
    chosen = arguments.parse_args()
    for measure in PARTS.values() if chosen.part is None else [PARTS[chosen.part]]:
        measure(chosen.sets)
