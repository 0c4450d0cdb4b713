"""Calibration of a net's sigmoids, before and after temperature scaling.

The logits are divided by one temperature, which minimises the binary cross entropy of the
validation images without their variants (Guo et al. 2017, arXiv 1706.04599). Test images play no
part in the fit. If every sigmoid of the validation images is on the right side of 0.5, the loss
falls without limit as the temperature falls: no temperature can be fitted, and 1 is kept. Each of
the three sigmoids is a probability of its own; they need not sum to 1.

Takes the logits that predict wrote. Writes one row before and one after: temperature, its 95 %
interval (left empty if fewer than ten validation images have a sigmoid on the wrong side of 0.5),
whether it was fitted, loss, Brier score with its interval, and the expected calibration error of
the decisions on the test images beside that of a calibrated net with these sigmoids; ECEs have no
interval, see scores.summary. And the reliability diagram, of all sigmoids in ten bins of equally
many.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import CLASSES
from cxr.evaluation.intervals import Z, bounded_interval, group_variance
from cxr.evaluation.predictions import image_groups
from cxr.evaluation.scores import calibrated_error, calibration_error
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.tables import read_table
from matplotlib import pyplot as plt
from scipy.optimize import minimize_scalar
from scipy.special import expit

N_BINS, MIN_WRONG = 10, 10


def calibrate(logits, table, figure, seed):
    (*fitted, fitted_groups), (logits, labels, groups) = read_logits(logits)
    temperature = fit_temperature(*fitted)
    bounds = temperature_interval(temperature, *fitted, fitted_groups)
    right = logits.argmax(axis=1) == labels.argmax(axis=1)
    rows, drawn = [], {}
    for name, value in (("before", 1.0), ("after", temperature or 1.0)):
        sigmoids = expit(logits / value)
        drawn[name] = reliability(sigmoids, labels)
        brier = ((sigmoids - labels) ** 2).sum(axis=1)
        brier_low, brier_high = bounded_interval(brier, 0, len(CLASSES), groups, seed)
        confidence = sigmoids.max(axis=1)
        low, high = bounds if name == "after" else (np.nan, np.nan)
        rows.append(
            {
                "calibration": name,
                "temperature": value,
                "temperature_low": low,
                "temperature_high": high,
                "fitted": name == "after" and temperature is not None,
                "loss": mean_loss(logits / value, labels),
                "brier": brier.mean(),
                "brier_low": brier_low,
                "brier_high": brier_high,
                "ece": calibration_error(confidence, right),
                "ece_calibrated": calibrated_error(confidence, seed),
                "n": len(labels),
            }
        )
    write_table(table, pd.DataFrame(rows))
    plot(figure, drawn)


def read_logits(path):
    """Logits, 0/1 labels, float64 (n, classes) each, and groups, (n,), of val, then of test."""
    table = read_table(path, numbers=CLASSES, choices={"class": CLASSES, "split": ("val", "test")})
    for split in ("val", "test"):
        rows = table[table.split == split]
        yield (
            rows[list(CLASSES)].to_numpy(float),
            (rows[["class"]].to_numpy() == np.array(CLASSES)).astype(float),
            image_groups(rows),
        )


def mean_loss(logits, labels):
    """Mean binary cross entropy of logits and 0/1 labels, both (n, outputs)."""
    return float((np.logaddexp(0, logits) - labels * logits).mean())


def fit_temperature(logits, labels):
    """The temperature between 0.01 and 100 of the lowest loss; None where there is no lowest."""
    if ((logits > 0) == (labels > 0)).all():
        return None
    found = minimize_scalar(
        lambda log: mean_loss(logits / np.exp(log), labels),
        bounds=np.log([0.01, 100]),
        method="bounded",
    )
    return float(np.exp(found.x))


def temperature_interval(temperature, logits, labels, groups):
    """95 % interval of a fitted temperature; not a number if few images say anything of it.

    Of its logarithm, by the variance that holds whatever the true model is (White 1982, doi
    10.2307/1912526), images of a group together.
    """
    wrong = ((logits > 0) != (labels > 0)).any(axis=1)
    if temperature is None or len(np.unique(groups[wrong])) < MIN_WRONG:
        return np.nan, np.nan
    scaled = logits / temperature
    sigmoids = expit(scaled)
    slopes = (scaled * (labels - sigmoids)).sum(axis=1)  # of an image's loss by log temperature
    curvature = (scaled**2 * sigmoids * (1 - sigmoids) - scaled * (sigmoids - labels)).sum()
    reach = Z * np.sqrt(group_variance(slopes, groups)) / curvature
    return temperature * np.exp(-reach), temperature * np.exp(reach)


def reliability(sigmoids, labels):
    """Sigmoids in bins of equally many: their mean, the share of positive labels, and n."""
    order = np.argsort(sigmoids, axis=None, kind="stable")
    parts = np.array_split(order, N_BINS)
    rows = [(sigmoids.flat[part].mean(), labels.flat[part].mean(), len(part)) for part in parts]
    return pd.DataFrame(rows, columns=["sigmoid", "observed", "n"])


def plot(path, drawn):
    drawing, axes = plt.subplots(figsize=(3.6, 3.4), layout="constrained")
    axes.plot([0, 1], [0, 1], color="grey", lw=0.8, ls="--")
    for name, bins in drawn.items():
        axes.plot(bins.sigmoid, bins.observed, "o-", ms=3, label=name)
    axes.set_xlabel("sigmoid")
    axes.set_ylabel("share of images of that class")
    axes.legend(frameon=False)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--logits", type=Path, required=True, help="CSV of predict")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    arguments.add_argument("--seed", type=int, required=True, help="of the random weights")
    with user_errors():
        calibrate(**vars(arguments.parse_args()))
