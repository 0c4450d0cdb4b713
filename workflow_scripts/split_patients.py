"""Split ChestX-ray14 into train, val and test so that no patient is in two of them.

By default, patients are sampled at random for the given fractions of images. --lists takes files of
image names instead (one per line, plain or gzipped) and checks that they share no patient: three
files (train, val, test), or two, as NIH ships them (train with val, and test); the first of two is
then split at random.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.contents import read_names
from cxr.data.chestxray14 import read_labels
from cxr.data.splits import SPLITS, check_no_shared_patient, split_by_patient
from cxr.files import write_table


def split_patients(labels, out, seed, fractions=(0.7, 0.1, 0.2), lists=None):
    table = read_labels(labels)
    if lists:
        split = split_by_lists(table.image, lists)
        if len(lists) == 2:
            both = split == "train"
            of_both = [fraction / sum(fractions[:2]) for fraction in fractions[:2]]
            split[both] = split_by_patient(table.patient_id[both], (*of_both, 0), seed)
    else:
        split = split_by_patient(table.patient_id, fractions, seed)
    if empty := [name for name in SPLITS if not (split == name).any()]:
        raise InputError(f"{labels}: the {empty[0]} split of {len(table)} images is empty")
    check_no_shared_patient(table.patient_id.to_numpy(), split)
    table.insert(2, "split", split)
    write_table(out, table)


def split_by_lists(images, lists):
    """Split name of each image, from one file of names per split, which together name all.

    Of two files, the first is called train.
    """
    split = pd.Series("", index=pd.Index(images))
    for name, path in zip(SPLITS if len(lists) == 3 else ("train", "test"), lists, strict=True):
        listed = pd.Series(read_names(path))
        if unknown := listed[~listed.isin(split.index)].tolist():
            raise InputError(f"{path}: {len(unknown)} images without a label, first: {unknown[0]}")
        twice = listed[listed.duplicated() | (split[listed] != "").to_numpy()].tolist()
        if twice:
            raise InputError(f"{path}: {len(twice)} images are listed twice, first: {twice[0]}")
        split[listed] = name
    if unlisted := split[split == ""].index.tolist():
        raise InputError(f"{len(unlisted)} labelled images are in no list, first: {unlisted[0]}")
    return np.asarray(split)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--labels", type=Path, required=True, help="NIH's label table")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--seed", type=int, default=0, help="default: 0")
    arguments.add_argument(
        "--fractions", type=float, nargs=3, default=(0.7, 0.1, 0.2), metavar=SPLITS
    )
    arguments.add_argument(
        "--lists", type=Path, nargs="+", metavar="LIST", help="2 or 3 files of image names"
    )
    chosen = vars(arguments.parse_args())
    if chosen["lists"] and len(chosen["lists"]) not in (2, 3):
        arguments.error(f"--lists takes 2 or 3 files, not {len(chosen['lists'])}")
    with user_errors():
        split_patients(**chosen)
