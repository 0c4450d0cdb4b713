"""Splits keep patients apart, keep their sizes, and refuse what can't be split."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
from cxr.logs import InputError  # noqa: E402
from cxr.splits import check_no_shared_patient, split_by_patient, split_class  # noqa: E402


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


def test_class_split_has_the_paper_s_sizes():
    # 219 - 13 laterals: 60 test, and 80 % of 146 are 117 (paper-notes: 117 x 72 = 8424)
    names = split_class(206, 60, 0.2, np.random.default_rng(0))
    assert {name: (names == name).sum() for name in ("train", "val", "test")} == {
        "train": 117,
        "val": 29,
        "test": 60,
    }


@pytest.mark.parametrize("n_images", [60, 61, 20])
def test_too_few_images(n_images):
    with pytest.raises(InputError, match=f"{n_images} images give"):
        split_class(n_images, 60, 0.2, np.random.default_rng(0))
