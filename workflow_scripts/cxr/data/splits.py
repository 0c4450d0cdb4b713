"""Train, validation and test: by patient, or by image within each class."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from cxr.cli import InputError

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


def split_groups(classes, groups, n_test, validation_fraction, seed):
    """Split name of each image: n_test of each class for test, of the rest a share for val.

    classes, groups: one per image; images of a group stay together. In random order, each group
    goes to the first of test, val and train that still takes all its images.
    Raises InputError if a class has too few images, or groups too large, for that.
    """
    names, class_of = np.unique(classes, return_inverse=True)
    _, group_of = np.unique(groups, return_inverse=True)
    total = np.bincount(class_of)
    n_val = np.round((total - n_test) * validation_fraction).astype(int)
    for name, n, val in zip(names, total, n_val, strict=True):
        train = n - n_test - val
        if min(n_test, val, train) < 1:
            raise InputError(
                f"class {name}: {n} images give {train} train, {val} val and {n_test} test; "
                "each needs at least 1: add images or lower covid19.test_images_per_class"
            )
    sizes = np.zeros((group_of.max() + 1, len(names)), dtype=int)  # of each group, by class
    np.add.at(sizes, (group_of, class_of), 1)
    places = {"test": np.full(len(names), n_test), "val": n_val, "train": total}
    split_of_group = np.empty(len(sizes), dtype=object)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        split = next(name for name, left in places.items() if (sizes[group] <= left).all())
        split_of_group[group] = split
        places[split] = places[split] - sizes[group]
    if places["test"].any():
        name = names[places["test"].argmax()]
        raise InputError(
            f"class {name}: {places['test'].max()} of {n_test} test images are missing, as groups "
            "of images that stay together are too large; lower covid19.test_images_per_class"
        )
    return split_of_group[group_of].astype(str)


def duplicate_groups(images, pairs):
    """Group number of each image: linked by a pair of duplicates, or of one patient.

    images: a table with image and patient_id (empty: unknown). pairs: image, duplicate.
    """
    number = pd.Series(np.arange(len(images)), index=images.image)
    known = images[images.patient_id != ""]
    first_of_patient = known.groupby("patient_id").image.transform("first")
    links = pd.concat(
        [
            pairs[["image", "duplicate"]],
            pd.DataFrame({"image": known.image, "duplicate": first_of_patient}),
        ]
    )
    links = links[links.image.isin(images.image) & links.duplicate.isin(images.image)]
    ends = number[links.image].to_numpy(), number[links.duplicate].to_numpy()
    graph = coo_array((np.ones(len(links)), ends), shape=(len(images), len(images)))
    return connected_components(graph, directed=False)[1]
