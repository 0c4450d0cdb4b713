"""A temperature mends a net that is too sure, and is fitted without the test images."""

import numpy as np
import pandas as pd
import pytest
from calibrate import calibrate, fit_temperature, reliability, temperature_interval
from cxr.data.covid19 import CLASSES
from scipy.special import expit


def drawn_logits(n=4000):
    """Logits and labels that are drawn by their sigmoids."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (n, 3)).astype(np.float32)
    return logits, (rng.random((n, 3)) < expit(logits)).astype(np.float32)


@pytest.mark.parametrize("too_sure", [0.5, 1.0, 3.0])
def test_the_temperature_is_found(too_sure):
    logits, labels = drawn_logits()
    assert fit_temperature(logits * too_sure, labels) == pytest.approx(too_sure, rel=0.05)


def test_no_temperature_fits_a_net_without_errors():
    logits, _ = drawn_logits(20)
    assert fit_temperature(logits, (logits > 0).astype(np.float32)) is None


def test_temperature_has_an_interval_by_group():
    logits, labels = drawn_logits(400)
    logits = 2 * logits
    alone = temperature_interval(fit_temperature(logits, labels), logits, labels, np.arange(400))
    assert alone[0] < 2 < alone[1] < 3
    twice = [np.repeat(values, 2, axis=0) for values in (logits, labels, np.arange(400))]
    again = temperature_interval(fit_temperature(*twice[:2]), *twice)
    assert again == pytest.approx(alone, rel=0.01)
    few = logits[:10], labels[:10]
    few[1][1:] = few[0][1:] > 0  # one image at most is on the wrong side
    assert np.isnan(temperature_interval(1.0, *few, np.arange(10))).all()


def test_bins_hold_equally_many_and_show_what_is_observed():
    logits, labels = drawn_logits()
    bins = reliability(expit(logits), labels)
    assert bins.n.tolist() == [1200] * 10
    assert abs(bins.observed - bins.sigmoid).max() < 0.05
    assert (
        abs(reliability(expit(3 * logits), labels).pipe(lambda b: b.observed - b.sigmoid)).max()
        > 0.1
    )


def test_the_step_writes_before_and_after(tmp_path):
    logits, labels = drawn_logits(60)
    table = pd.DataFrame(3 * logits, columns=CLASSES)
    table.insert(0, "class", np.array(CLASSES)[labels.argmax(axis=1)])
    both = pd.concat([table.assign(split="val"), table.assign(split="test")])
    both.to_csv(tmp_path / "logits.csv", index=False)
    calibrate(tmp_path / "logits.csv", tmp_path / "table.csv", tmp_path / "figure.svg", 0)
    table = pd.read_csv(tmp_path / "table.csv").set_index("calibration")
    assert table.temperature["before"] == 1
    assert table.loss["after"] <= table.loss["before"], "here val and test are the same"
    assert (table.brier_low < table.brier).all() and (table.brier < table.brier_high).all()
    assert table.ece["after"] < table.ece["before"]
    assert np.isnan(table.temperature_low["before"])
    assert table.temperature_low["after"] < table.temperature["after"]
    assert (tmp_path / "figure.svg").stat().st_size
