"""Audit: no patient is in two splits.

ChestX-ray14's patients are all known: one in two splits fails the audit. Of the COVID-19 database
few are: those that its metadata name, and those whose image is a picture of ChestX-ray14 (--pairs).
The audit passes only if every patient is known and none is in two splits.
"""

from itertools import combinations
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.overlaps import patients_across_splits, read_covid19_patients, used_images
from cxr.data.splits import SPLITS
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit


def audit_patients(chestxray14, covid19, pairs, out):
    tables = {
        "ChestX-ray14": read_image_table(chestxray14, ["patient_id", "split"]),
        "COVID-19 database": read_covid19_patients(covid19, chestxray14, pairs),
    }
    rows, findings, concerned, unknown = [], [], {}, {}
    for dataset, table in tables.items():
        used = used_images(table.assign(patient_id=table.patient_id.astype(str)))
        concerned[dataset] = len(patients_across_splits(used))
        unknown[dataset] = int((used.patient_id == "").sum()) or not len(used)
        findings.append(f"{dataset}: {describe(used)}")
        rows += [(dataset, *pair, *shared(used, *pair)) for pair in combinations(SPLITS, 2)]
    columns = ["dataset", "split", "other_split", "shared_patients", "images"]
    found = pd.DataFrame(rows, columns=columns)
    gate = "report" if any(concerned.values()) or any(unknown.values()) else "pass"
    save_audit(out, found, ". ".join(findings), "fail" if concerned["ChestX-ray14"] else gate)
    labels = found.dataset + ": " + found.split + ", " + found.other_split
    counts = found.shared_patients
    plot_intervals(out.figure, labels, counts, counts * 0, counts, "shared patients")


def describe(used):
    """How many patients of a data set are in two splits, and of how many images that is unknown."""
    known, test = used[used.patient_id != ""], used[used.split == "test"]
    if known.empty:
        return (
            f"the patient of none of its {len(used)} images is known, so that whether one is in "
            "two splits can't be said"
        )
    patients = patients_across_splits(used)
    text = (
        f"{len(patients)} of {known.patient_id.nunique()} known patients have images in two splits "
        f"or more, with {int(test.patient_id.isin(patients).sum())} of {len(test)} test images"
    )
    if n_unknown := len(used) - len(known):
        text += f"; the patient of {n_unknown} of {len(used)} images is not known"
    return text


def shared(used, split, other):
    """How many known patients two splits share, and how many of their images that concerns."""
    known = used[used.patient_id != ""]
    patients = [set(known.patient_id[known.split == name]) for name in (split, other)]
    both = patients[0] & patients[1]
    images = known.split.isin([split, other]) & known.patient_id.isin(both)
    return len(both), int(images.sum())


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--chestxray14", type=Path, required=True, help="its split.csv")
    arguments.add_argument("--covid19", type=Path, required=True, help="its split.csv")
    arguments.add_argument("--pairs", type=Path, required=True, help="of the audit pretraining")
    add_outputs(arguments)
    with user_errors():
        audit_patients(**vars(arguments.parse_args()))
