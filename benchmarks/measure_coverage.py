"""How often the workflow's 95 % intervals hold the true value, by simulation.

Test sets are drawn from populations whose values are known, and evaluated by the workflow's own
functions. The score of class c for an image is a_c if the image is of c, else 0, plus a normal
error of variance 1, of which the share ICC is common to all images of a patient; the largest
score is the prediction. True values are those of a test set of 600,000 images.

Prints a row per scenario, n and score: the share of test sets whose interval holds the true value
(of scores per class, in the class where it is lowest), the mean width, and the share of test sets
for which no interval was given. With 300 test sets, 95 % is measured to 1.3 points; 1,000: 0.7.
"""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit, logit
from scipy.stats import beta, norm
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
import audit_labels
import audit_subgroups
from calibrate import fit_temperature, temperature_interval
from collect_replicates import variance_components
from cxr.data.chestxray14 import FINDINGS, RADIOLOGISTS
from cxr.data.covid19 import CLASSES
from cxr.evaluation.intervals import (
    auroc_interval,
    bounded_interval,
    mean_interval,
    paired_interval,
)
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
        print(f"{scenario:62} {score:28} no interval; true {true[0]:.3f}, bias {bias:+.3f}")
        return
    held = np.where(given, (low <= true + 1e-9) & (true - 1e-9 <= high), np.nan)
    coverage = np.nanmean(held, axis=0).min()
    width, none = np.nanmean(high - low), 1 - given.mean()
    print(f"{scenario:62} {score:28} {coverage:6.1%}  width {width:.3f}  none {none:.0%}")
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


def latent(rng, n, unequal):
    """Two normal values of each image, (n, 2), and its patient, (n,), whose ICC is common.

    unequal: patients have 1, 1, 1, 2, 3 or 6 images; else each has one.
    """
    patient = np.arange(n)
    if unequal:
        patient = np.repeat(patient, rng.choice([1, 1, 1, 2, 3, 6], n))[:n]
    common = np.sqrt(ICC) * rng.standard_normal((n, 2))[patient]
    return common + np.sqrt(1 - ICC) * rng.standard_normal((n, 2)), patient


def change_of_sigmoid(distance):
    """What a word does to the sigmoid of a class: the score falls by 0.3, give or take 0.3."""
    return lambda z: (
        expit(2 * (z[:, 0] + distance / 2 - 0.3 + 0.3 * z[:, 1])) - expit(2 * z[:, 0] + distance)
    )


def loss(distance):
    """Binary cross entropy of a sigmoid of its own class."""
    return lambda z: np.logaddexp(0, -2 * z[:, 0] - distance)


def share(first, second, zeros=0.0):
    """Shares of the relevance: of a beta distribution, but some that are 0."""
    return lambda z: np.where(
        norm.cdf(z[:, 1]) < zeros, 0, beta.ppf(norm.cdf(z[:, 0]), first, second)
    )


# Values of images, (n,), of two normal ones, whose means the workflow prints.
VALUES = {
    "normal": lambda z: z[:, 0],
    "log-normal": lambda z: np.exp(z[:, 0]),
    "change of sigmoid, accuracy .985": change_of_sigmoid(3.4),
    "change of sigmoid, accuracy .81": change_of_sigmoid(1.7),
    "loss, accuracy .985": loss(3.4),
    "loss, accuracy .81": loss(1.7),
    "difference of losses": lambda z: loss(1.7)(z) - loss(1.9)(z + 0.3 * z[:, ::-1]),
    "share, mean .2": share(2, 8),
    "share, mean .09": share(0.5, 5),
    "share, mean .13, 60 % are 0": share(2, 4, 0.6),
    "share, mean .03, 90 % are 0": share(2, 4, 0.9),
}


def measure_means(n_sets):
    """Means of values: by word, covered text, relevance, localisation, faithfulness, and losses."""
    for name, values in VALUES.items():
        true = values(latent(np.random.default_rng(0), 2_000_000, False)[0]).mean()
        for n, unequal in ((20, False), (60, False), (60, True), (180, True)):
            rng, rows = np.random.default_rng(n), []
            for seed in range(n_sets):
                z, patient = latent(rng, n, unequal)
                found = values(z)
                rows.append((found.mean(), *mean_interval(found, patient, seed)))
            report(
                f"{name}, {unequal=}, n = {n}", "mean", np.array(rows)[:, None], np.array([true])
            )


def measure_hits(n_sets):
    """Pointing games: shares of images; and where many maps are constant, of values between."""
    for chance, constant in ((0.05, 0.0), (0.5, 0.0), (0.95, 0.0), (0.3, 0.3)):

        def hits(z, chance=chance, constant=constant):
            flat = norm.cdf(z[:, 1]) < constant
            return np.where(flat, 0.08, (norm.cdf(z[:, 0]) < chance).astype(float))

        true = hits(latent(np.random.default_rng(0), 2_000_000, False)[0]).mean()
        for n, unequal in ((20, False), (60, True), (180, True)):
            rng, rows = np.random.default_rng(n), []
            for seed in range(n_sets):
                z, patient = latent(rng, n, unequal)
                found = hits(z)
                rows.append((found.mean(), *bounded_interval(found, 0, 1, patient, seed)))
            name = f"{chance:.0%} hits, {constant:.0%} constant maps, {unequal=}, n = {n}"
            report(name, "pointing game", np.array(rows)[:, None], np.array([true]))


def measure_differences(n_sets):
    """Accuracies of two nets, or means of two nets each, whose scores differ by 0.2 or 0.5."""
    for n, per_patient, nets in ((60, 1, 1), (180, 1, 1), (180, 3, 1), (60, 1, 2), (180, 3, 2)):
        for distance in (3.4, 1.7):
            rng, lower = np.random.default_rng(n), 0.5 if distance > 2 else 0.2
            rows = []
            for images in (600_000, *[n] * n_sets):
                patient = np.repeat(np.arange(images // per_patient), per_patient)
                shared = np.sqrt(ICC) * rng.standard_normal((len(patient), 3))[patient]
                shared += np.sqrt((1 - ICC) / 2) * rng.standard_normal((images, 3))
                right = []
                for least in (distance, distance - lower):
                    own = np.sqrt((1 - ICC) / 2) * rng.standard_normal((nets, images, 3))
                    scores = shared + own
                    hits = scores[..., 0] + least > scores[..., 1:].max(axis=-1)
                    right.append(hits.mean(axis=0))
                rows.append((right[0] - right[1], patient))
            true = rows[0][0].mean()
            found = [(d.mean(), *paired_interval(d, patient)) for d, patient in rows[1:]]
            name = f"{nets} net(s) each, {per_patient} image(s) a patient, n = {n}, true {true:.3f}"
            report(name, "difference of accuracies", np.array(found)[:, None], np.array([true]))


def measure_findings(n_sets):
    """AUROCs of rare findings, 3 images a patient who mostly shares the finding, by patient."""
    n, true = 1998, norm.cdf(DISTANCE / np.sqrt(2))
    patient = np.repeat(np.arange(n // 3), 3)
    for positive in (4, 10, 30, 300):
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


def draw_findings(rng, n, unequal, prevalence):
    """Three findings of n images: (Findings, patients, of a group, one in three; and of the rest).

    In the group scores are higher by 0.3, with a finding by 0.3 less. Half of the images of a
    patient have the patient's group, the others their own: as with views.
    """
    z, patient = latent(rng, n, unequal)
    number = patient.max() + 1
    of_patient = rng.random(number) < 1 / 3
    group = np.where(rng.random(n) < 0.5, of_patient[patient], rng.random(n) < 1 / 3)
    findings = []
    for name in ("Mass", "Edema", "Hernia"):
        common, own = rng.standard_normal((number, 2))[patient], rng.standard_normal((n, 2))
        label, score = (np.sqrt(ICC) * common + np.sqrt(1 - ICC) * own).T
        score = 0.5 * z[:, 0] + np.sqrt(0.75) * score
        has = label > norm.isf(prevalence)
        score = score + DISTANCE * has + 0.3 * group * (1 - 2 * has)
        findings.append(audit_subgroups.Finding(name, has, score, DISTANCE / 2))
    return findings, patient, group


def measure_gaps(n_sets):
    """Audit subgroups: AUROC and false negatives of a group, gaps, of a finding and their mean."""

    def values(findings, patient, group):
        of = audit_subgroups.Group("view", "AP", group, ~group, True)
        for measure in audit_subgroups.MEASURES:
            for row in audit_subgroups.rows_of(of, measure, findings, patient, 10):
                found = dict(zip(audit_subgroups.COLUMNS[1:], row, strict=True))
                if found["finding"] in ("Mass", "mean"):
                    for name in ("value", "gap"):
                        start = "" if name == "value" else "gap_"
                        bounds = found[f"{start}low"], found[f"{start}high"]
                        yield f"{measure}, {found['finding']}, {name}", (found[name], *bounds)

    compare_to_population(
        n_sets,
        lambda rng, n, unequal, prevalence: dict(
            values(*draw_findings(rng, n, unequal, prevalence))
        ),
        ((400, False, 0.1), (2000, True, 0.02), (2000, True, 0.1)),
    )


def compare_to_population(n_sets, values, scenarios):
    """Report {score: (value, low, high)} of samples of a size; values(rng, n, unequal, prevalence).

    True is what 1,000,000 images have, each of a patient of its own.
    """
    for n, unequal, prevalence in scenarios:
        true = values(np.random.default_rng(0), 1_000_000, False, prevalence)
        rng, found = np.random.default_rng(n), defaultdict(list)
        for _ in range(n_sets):
            for name, row in values(rng, n, unequal, prevalence).items():
                found[name].append(row)
        for name, rows in found.items():
            scenario = f"{n} images, {unequal=}, finding in {prevalence:.0%}"
            report(scenario, name, np.array(rows, float)[:, None], np.array([true[name][0]]))


def measure_labels(n_sets):
    """Audit labels: kappa, sensitivity, predictive value, and AUROC by either labels."""

    def values(rng, n, unequal, prevalence):
        z, patient = latent(rng, n, unequal)
        noise = np.sqrt(ICC) * rng.standard_normal((n, 2))[patient]
        noise += np.sqrt(1 - ICC) * rng.standard_normal((n, 2))
        seen, text, score = z[:, 0], 0.8 * z[:, 0] + 0.6 * noise[:, 0], 0.6 * z[:, 0] + noise[:, 1]
        limit, images = norm.isf(prevalence), np.arange(n)
        table = pd.DataFrame(0, index=images, columns=list(FINDINGS)).assign(patient_id=patient)
        table["Pneumothorax"] = (text > limit).astype(int)
        labels = pd.DataFrame(False, index=images, columns=list(RADIOLOGISTS))
        labels["Pneumothorax"] = seen > limit
        rows = audit_labels.agreement(table, labels, 10)
        rows += audit_labels.aurocs("net", pd.DataFrame({"Pneumothorax": score}), table, labels, 10)
        return {row[2]: row[3:6] for row in rows if row[1] == "Pneumothorax"}

    scenarios = ((400, False, 0.1), (900, True, 0.05), (4000, True, 0.05))
    compare_to_population(n_sets, values, scenarios)


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
    "means": measure_means,
    "hits": measure_hits,
    "differences": measure_differences,
    "findings": measure_findings,
    "gaps": measure_gaps,
    "labels": measure_labels,
    "temperatures": measure_temperatures,
    "shares": measure_shares,
    "scores": measure_scores,
}


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--sets", type=int, default=300, help="test sets of each; default: 300")
    arguments.add_argument("--part", choices=PARTS, help="only this one")
    chosen = arguments.parse_args()
    for measure in PARTS.values() if chosen.part is None else [PARTS[chosen.part]]:
        measure(chosen.sets)
