"""What splits share: patients, pictures, duplicates; counted here by every step that needs them."""

import pandas as pd

from cxr.cli import InputError
from cxr.data.covid19 import read_image_table
from cxr.data.splits import SPLITS

PRETRAINING = ("none", "here", "elsewhere")


def same_pictures(pairs):
    """Pairs of audit_pretraining that are one picture, image and chestxray14_image.

    Others only look alike. Raises InputError if a column is missing.
    """
    table = read_image_table(pairs, ["chestxray14_image", "same_picture"])
    return table[table.same_picture.astype(str) == "True"]


def read_covid19_patients(covid19, chestxray14, pairs):
    """The COVID-19 database's split.csv, with the patients that ChestX-ray14 knows filled in.

    chestxray14: its split.csv. pairs: of audit_pretraining. patient_id is a text, empty: unknown.
    An image that is the same picture as images of several patients there gets none of them.
    """
    table = read_image_table(covid19, ["class", "patient_id", "split"])
    there = read_image_table(chestxray14, ["patient_id"]).set_index("image").patient_id.astype(str)
    found = same_pictures(pairs)
    patients = found.chestxray14_image.map(there).groupby(found.image).unique()
    clear = {
        image: f"ChestX-ray14 {ids[0]}"
        for image, ids in patients.items()
        if len(ids) == 1 and pd.notna(ids[0]) and ids[0] != ""
    }
    known = zip(table.image, table.patient_id.astype(str), strict=True)
    return table.assign(patient_id=[patient or clear.get(image, "") for image, patient in known])


def used_images(table):
    """The rows of a split.csv that are in train, val or test."""
    return table[table.split.isin(SPLITS)]


def patients_across_splits(table):
    """Known patients with images in several splits, a set. table: patient_id (text), split."""
    used = used_images(table)
    n_splits = used[used.patient_id != ""].groupby("patient_id").split.nunique()
    return set(n_splits.index[n_splits > 1])


def used_duplicates(duplicates, split):
    """Pairs of find_duplicates whose two images are both used, with the split of each.

    split: a split.csv. Columns: those of duplicates, then split, duplicate_split.
    """
    pairs = read_image_table(duplicates, ["duplicate", "class", "duplicate_class"])
    split_of = used_images(read_image_table(split, ["split"])).set_index("image").split
    pairs["split"] = pairs.image.map(split_of)
    pairs["duplicate_split"] = pairs.duplicate.map(split_of)
    return pairs.dropna(subset=["split", "duplicate_split"])


def check_pretraining(nets, pretraining):
    """Raise InputError unless pretraining, {net: one of PRETRAINING}, has all nets."""
    for net in nets:
        if pretraining.get(net) not in PRETRAINING:
            raise InputError(
                f"--pretraining: found {pretraining.get(net)!r} for {net}, expected one of "
                f"{PRETRAINING}: whether it was pretrained on ChestX-ray14, and where"
            )
