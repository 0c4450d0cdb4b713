"""Train, validation and test: by patient, or by image within each class."""

import numpy as np

from cxr.logs import InputError

SPLITS = ("train", "val", "test")


def split_by_patient(patient_ids, fractions, seed):
    """Split name of each image, so that no patient is in two and shares of images fit fractions.

    patient_ids: one per image. fractions: of train, val and test, adding up to 1. Patients come
    in random order, and each goes where the middle of its images falls.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise InputError(f"fractions {list(fractions)} of train, val and test do not add up to 1")
    patients, image_patient, n_images = np.unique(
        patient_ids, return_inverse=True, return_counts=True
    )
    order = np.random.default_rng(seed).permutation(len(patients))
    middle = (np.cumsum(n_images[order]) - n_images[order] / 2) / n_images.sum()
    split_of_patient = np.empty(len(patients), dtype=int)
    split_of_patient[order] = np.searchsorted(np.cumsum(fractions)[:-1], middle, side="right")
    return np.array(SPLITS)[split_of_patient[image_patient]]


def check_no_shared_patient(patient_ids, splits):
    """Raise InputError if a patient has images in two splits."""
    sets = {split: set(patient_ids[splits == split]) for split in SPLITS}
    for first, second in (("train", "val"), ("train", "test"), ("val", "test")):
        if shared := sorted(sets[first] & sets[second]):
            raise InputError(
                f"{len(shared)} patients in both {first} and {second}, first: {shared[0]}"
            )


def split_class(n_images, n_test, validation_fraction, rng):
    """Split name of each of one class's images: n_test for test, of the rest a share for val.

    Raises InputError if a split would be empty.
    """
    n_val = round((n_images - n_test) * validation_fraction)
    n_train = n_images - n_test - n_val
    if min(n_test, n_val, n_train) < 1:
        raise InputError(
            f"{n_images} images give {n_train} train, {n_val} val and {n_test} test; "
            "each needs at least 1: add images or lower covid19.test_images_per_class"
        )
    names = np.repeat(SPLITS, [n_train, n_val, n_test])
    return names[rng.permutation(n_images)]
