"""Nets with other settings: names, what they share, and what scores vary with, planted."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from collect_assumptions import choice_variances, collect_assumptions, variance_shares
from cxr.assumptions import alternatives, changed, combinations, first_phase
from cxr.cli import InputError
from cxr.data.covid19 import CLASSES

LISTED = {
    "seed": [1, 2],
    "covid19.text_boxes": [None, "my/boxes.csv"],
    "augmentation.shift_x,shift_y": [[9, 6]],
    "training.frozen_batch_norm": ["train"],
    "covid19_training.phases.2.weight_decay": [0],
}
SETTINGS = {
    "seed": 0,
    "covid19": {"text_boxes": "found"},
    "augmentation": {"shift_x": 40, "shift_y": 28, "fill": 0},
    "training": {"frozen_batch_norm": "eval"},
    "covid19_training": {"phases": [{"weight_decay": 0.1}, {"weight_decay": 0.2}]},
}


def test_names():
    assert list(alternatives(LISTED)) == [
        "frozen_batch_norm=train", "phases.2.weight_decay=0", "seed=1", "seed=2",
        "shift_x,shift_y=9,6", "text_boxes=my-boxes.csv", "text_boxes=none",
    ]  # fmt: skip


def test_changed_settings_leave_the_others_and_the_original():
    found = SETTINGS
    for key, value in alternatives(LISTED).values():
        found = changed(found, key, value)
    assert found == {
        "seed": 2,
        "covid19": {"text_boxes": None},
        "augmentation": {"shift_x": 9, "shift_y": 6, "fill": 0},
        "training": {"frozen_batch_norm": "train"},
        "covid19_training": {"phases": [{"weight_decay": 0.1}, {"weight_decay": 0}]},
    }
    assert SETTINGS["seed"] == 0 and SETTINGS["augmentation"]["shift_x"] == 40
    assert SETTINGS["covid19_training"]["phases"][1]["weight_decay"] == 0.2


@pytest.mark.parametrize(
    ("key", "value", "error"),
    [
        ("covid19_training.phases.3.weight_decay", 0, LookupError),
        ("augmentation.shift_x,shift_y", [9], ValueError),
    ],
)
def test_settings_that_do_not_fit(key, value, error):
    with pytest.raises(error):
        changed(SETTINGS, key, value)


def test_nets_differ_from_a_phase_on():
    found = {key: first_phase(key) for key in LISTED}
    assert list(found.values()) == [0, float("inf"), 1, 1, 2]


def test_combinations_are_a_seeded_sample():
    named = alternatives(LISTED)
    drawn = combinations(named, 30, 0)
    assert len(set(drawn)) == 30 and drawn == combinations(named, 30, 0)
    assert drawn != combinations(named, 30, 1)
    for name in drawn:
        keys = [named[part][0] for part in name.split("+")]
        assert len(keys) == len(set(keys)) > 1
        assert name.split("+") == sorted(name.split("+"))
    everything = 3 * 3 * 2 * 2 * 2 - 1 - len(named)
    assert len(set(combinations(named, everything, 0))) == everything
    with pytest.raises(ValueError, match=f"there are {everything}"):
        combinations(named, everything + 1, 0)


# Three choices: two alternatives, one, and one without effect.
NAMED = [
    "netA",
    "a=1",
    "a=2",
    "b=1",
    "c=1",
    "seed=1",
    "seed=2",
    "a=1+b=1",
    "a=2+b=1+c=1",
    "a=2+c=1",
]


def planted(names, effects):
    return np.array(
        [sum(effects.get(part, 0) for part in name.split("+")) for name in names], float
    )


def test_planted_effects_are_found_exactly():
    values = 0.9 + planted(NAMED, {"a=1": 0.03, "a=2": -0.03, "b=1": 0.02})
    variances, rest = choice_variances(NAMED, values)
    assert variances == pytest.approx({"a": 0.0006, "b": 0.0001, "c": 0}, abs=1e-12)
    assert rest == 0
    shares = variance_shares(NAMED, values).set_index("source").share
    assert shares["a"] == pytest.approx(6 / 7) and shares["b"] == pytest.approx(1 / 7)
    assert shares["seed and interactions"] == 0 and shares.isna().sum() == 1


def test_chance_is_no_variance_of_a_choice():
    """Mean of many samples: the variance of seeds is found, and added to no choice."""
    rng, found = np.random.default_rng(0), []
    effects = planted(NAMED, {"a=1": 3, "a=2": -3, "b=1": 4})
    for _ in range(2000):
        variances, rest = choice_variances(NAMED, effects + rng.normal(0, 1, len(NAMED)))
        found.append([variances["a"], variances["b"], rest])
    assert np.mean(found, axis=0) == pytest.approx([6, 4, 1], rel=0.03)


def test_seed_of_replicates_is_taken_from_the_rest():
    values = np.random.default_rng(0).normal(0, 1, len(NAMED))
    _, rest = choice_variances(NAMED, values)
    of = variance_shares(NAMED, values, {"seed": 0.25 * rest, "split": rest}).set_index("source")
    assert of.variance["interactions"] == pytest.approx(0.75 * rest)
    assert of.share["split"] == pytest.approx(4 * of.share["seed"])
    more = variance_shares(NAMED, values, {"seed": 2 * rest, "split": 0.0}).set_index("source")
    assert more.variance["interactions"] == 0


def test_values_that_are_not_tried_by_themselves_are_refused():
    with pytest.raises(InputError, match="each value by itself"):
        choice_variances(["netA", "a=1+b=1", "a=1+b=1+seed=1", "seed=1"], np.arange(4))
    with pytest.raises(InputError, match="or other seeds"):
        choice_variances(["netA", "a=1"], np.arange(2))


def write_net(folder, wrong, margin=2.0):
    """Thirty test images, so many of them called the class after theirs, with this margin."""
    true = [name for name in CLASSES for _ in range(10)]
    images = [f"{number}.png" for number in range(30)]
    after = dict(zip(CLASSES, [*CLASSES[1:], CLASSES[0]], strict=True))
    predicted = [after[name] if number < wrong else name for number, name in enumerate(true)]
    table = pd.DataFrame({"image": images, "class": true})
    logits = {name: [margin if p == name else -margin for p in predicted] for name in CLASSES}
    sigmoids = {name: 1 / (1 + np.exp(-np.array(values))) for name, values in logits.items()}
    folder.mkdir(parents=True)
    table.assign(version="edited", phase=1, **sigmoids, predicted=predicted).to_csv(
        folder / "predictions.csv", index=False
    )
    rows = table.assign(**logits)
    pd.concat([rows.assign(split="val"), rows.assign(split="test")]).to_csv(
        folder / "last_logits.csv", index=False
    )
    return folder


@pytest.fixture
def folders(tmp_path):
    wrong = {"netA": 3, "a=1": 6, "b=x": 3, "seed=1": 3, "a=1+b=x": 6}
    return [write_net(tmp_path / name, number) for name, number in wrong.items()]


def collect(folders, tmp_path, replicates=None):
    outputs = [tmp_path / name for name in ("summary.csv", "variance.csv", "figure.svg")]
    files = [
        [folder / name for folder in folders] for name in ("predictions.csv", "last_logits.csv")
    ]
    collect_assumptions(*files, replicates, 0, *outputs)
    assert outputs[2].stat().st_size
    return [pd.read_csv(path) for path in outputs[:2]]


def test_summary(folders, tmp_path):
    summary, variance = collect(folders, tmp_path)
    assert list(summary.choice) == ["the study's own", "a", "b", "seed", "a + b"]
    assert list(summary.changed) == [0, 1, 1, 1, 2]
    assert summary.value[4] == "1 + x"
    assert summary.accuracy.tolist() == pytest.approx([0.9, 0.8, 0.9, 0.9, 0.8])
    assert summary.accuracy_difference.tolist() == pytest.approx([0, -0.1, 0, 0, -0.1])
    others = summary[1:]
    assert (others.accuracy_difference_low < others.accuracy_difference).all()
    assert (others.accuracy_difference_high > others.accuracy_difference).all()
    assert summary.accuracy_difference_low.isna().tolist() == [True, *[False] * 4]
    right, wrong = np.log1p(np.exp(-2)), np.log1p(np.exp(2))
    expected = [(n * (right + 2 * wrong) + (30 - n) * 3 * right) / 90 for n in (3, 6)]
    assert summary.loss.tolist()[:2] == pytest.approx(expected)
    assert summary.loss_difference[1] == pytest.approx(expected[1] - expected[0])
    shares = variance.set_index(["score", "source"]).share
    assert shares["accuracy", "a"] == pytest.approx(1) and shares["loss", "a"] == pytest.approx(1)


def test_replicates_give_the_variance_of_seed_and_split(folders, tmp_path):
    rows = [
        ("netA", split, seed, 0.8 + 0.1 * split + 0.01 * seed)
        for split, seed in product((1, 2), (1, 2))
    ]
    path = tmp_path / "replicates.csv"
    columns = ["net", "split", "seed", "accuracy"]
    pd.DataFrame([*rows, ("netB", 1, 1, 0.1)], columns=columns).to_csv(path, index=False)
    _, variance = collect(folders, tmp_path, path)
    of = variance[variance.score == "accuracy"].set_index("source")
    assert list(of.index) == ["a", "b", "seed", "split", "interactions"]
    assert of.variance["seed"] == pytest.approx(0.01**2 / 2)
    assert of.variance["split"] == pytest.approx(0.1**2 / 2 - of.variance["seed"] / 2)
    assert of.share.sum() == pytest.approx(1)
    pd.DataFrame(rows[:3], columns=columns).to_csv(path, index=False)
    with pytest.raises(InputError, match="found 3 replicates of netA"):
        collect(folders, tmp_path, path)


def test_nets_with_other_images_are_refused(folders, tmp_path):
    path = folders[1] / "predictions.csv"
    path.write_text(path.read_text().replace("29.png", "other.png"))
    with pytest.raises(InputError, match="differ from the first net's"):
        collect(folders, tmp_path)
