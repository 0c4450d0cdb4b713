"""Splits keep patients apart, keep their sizes, and refuse what can't be split."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
from cxr.cli import InputError
from cxr.data.splits import (
    check_no_shared_patient,
    duplicate_groups,
    split_by_patient,
    split_groups,
)


def test_no_patient_in_two_splits_and_shares_fit():
    patients = np.random.default_rng(0).integers(0, 400, 2000)
    splits = split_by_patient(patients, (0.7, 0.1, 0.2), seed=1)
    check_no_shared_patient(patients, splits)
    shares = [(splits == name).mean() for name in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.1, 0.2], abs=0.01)


def test_seed_decides():
    patients = np.arange(300)
    first, again, other = (split_by_patient(patients, (0.7, 0.1, 0.2), s) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_shared_patient_is_named():
    with pytest.raises(InputError, match="1 patients in both train and test, first: 7"):
        check_no_shared_patient(np.array([7, 7, 8]), np.array(["train", "test", "val"]))


def test_fractions_must_add_up():
    with pytest.raises(InputError, match="do not add up to 1"):
        split_by_patient(np.arange(9), (0.7, 0.1, 0.1), seed=0)


def paper_s_database():
    """Classes of the database's 2,905 images without 13 lateral views (section 5.2)."""
    return np.repeat(["normal", "viral_pneumonia", "covid19"], [1341, 1345, 206])


def test_sizes_are_the_paper_s():
    classes = paper_s_database()
    splits = split_groups(classes, np.arange(len(classes)), 60, 0.2, seed=0)
    counts = pd.crosstab(classes, splits)
    assert (counts.test == 60).all()
    # 219 - 13 laterals - 60: 80 % of 146 are 117 (paper-notes: 117 x 72 = 8424)
    assert counts.loc["covid19", ["train", "val"]].tolist() == [117, 29]
    assert counts.loc["normal", ["train", "val"]].tolist() == [1025, 256]


def test_groups_stay_together_and_sizes_hold():
    classes = paper_s_database()
    groups = np.arange(len(classes))
    rng = np.random.default_rng(3)
    chosen = rng.choice(len(classes), 900, replace=False)
    groups[chosen] = rng.integers(0, 300, 900)  # of three on average, also across classes
    splits = split_groups(classes, groups, 60, 0.2, seed=0)
    assert pd.Series(splits).groupby(groups).nunique().max() == 1
    assert (pd.crosstab(classes, splits).test == 60).all()


def test_groups_that_are_too_large():
    classes = np.repeat(["normal", "covid19"], 100)
    with pytest.raises(InputError, match="class covid19: 10 of 10 test images are missing"):
        split_groups(classes, np.repeat(["a", "b"], 100), 10, 0.2, seed=0)


@pytest.mark.parametrize("n_images", [60, 61, 20])
def test_too_few_images(n_images):
    with pytest.raises(InputError, match=f"class covid19: {n_images} images give"):
        split_groups(["covid19"] * n_images, np.arange(n_images), 60, 0.2, seed=0)


def test_duplicate_groups_join_pairs_and_patients():
    images = pd.DataFrame({"image": list("abcdef"), "patient_id": ["", "7", "", "7", "", ""]})
    pairs = pd.DataFrame({"image": ["a", "c", "gone"], "duplicate": ["b", "e", "a"]})
    groups = duplicate_groups(images, pairs)
    assert groups[0] == groups[1] == groups[3]  # a with b, and b's patient has d
    assert groups[2] == groups[4]
    assert len(set(groups)) == 3
