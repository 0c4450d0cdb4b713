"""Audit: no patient is in two splits.

ChestX-ray14's patients are all known: one in two splits fails. Of the COVID-19 database few are:
what is known is reported, with how many are not. Those of its images that are in ChestX-ray14, too
(--pairs), have a known patient there.
"""

from itertools import combinations
from pathlib import Path

import pandas as pd
from cxr.audits import plot_intervals, save_audit
from cxr.covid19 import read_image_table
from cxr.logs import parser, user_errors


def audit_patients(chestxray14, covid19, pairs, out):
    tables = {
        "chestxray14": read_image_table(chestxray14, ["patient_id", "split"]),
        "covid19": read_image_table(covid19, ["patient_id", "split"]),
    }
    add_patients(tables["covid19"], tables["chestxray14"], pairs)
    rows, shared_ids = [], {}
    for dataset, table in tables.items():
        known = table[(table.patient_id.astype(str) != "") & (table.split != "excluded")]
        for one, other in combinations(("train", "val", "test"), 2):
            patients = [set(known.patient_id[known.split == name]) for name in (one, other)]
            shared = patients[0] & patients[1]
            concerned = known.split.isin([one, other]) & known.patient_id.isin(shared)
            rows.append((dataset, one, other, len(shared), int(concerned.sum())))
            shared_ids.setdefault(dataset, set()).update(shared)
    columns = ["dataset", "split", "other_split", "shared_patients", "images"]
    found = pd.DataFrame(rows, columns=columns)
    n_shared = len(shared_ids["chestxray14"])
    used = tables["covid19"][tables["covid19"].split != "excluded"]
    test = used[used.split == "test"]
    result = (
        f"ChestX-ray14: {n_shared} patients in two splits. COVID-19: "
        f"{len(shared_ids['covid19'])} known ones, with "
        f"{int(test.patient_id.isin(shared_ids['covid19']).sum())} of {len(test)} test images; of "
        f"{int((used.patient_id == '').sum())} of {len(used)} images the patient is not known"
    )
    save_audit(out, found, result, "fail" if n_shared else "pass")
    labels = found.dataset + ": " + found.split + ", " + found.other_split
    counts = found.shared_patients
    plot_intervals(out.with_suffix(".svg"), labels, counts, counts * 0, counts, "shared patients")


def add_patients(table, chestxray14, pairs):
    """Fill patient_id where it is empty and the image is one of ChestX-ray14's."""
    same = read_image_table(pairs, ["chestxray14_image", "correlation"])
    same = same.sort_values("correlation").drop_duplicates("image", keep="last")
    there = same.set_index("image").chestxray14_image.map(
        chestxray14.set_index("image").patient_id.astype(str)
    )
    table["patient_id"] = table.patient_id.astype(str)
    found = table.image.map("ChestX-ray14 " + there)
    table["patient_id"] = table.patient_id.where(table.patient_id != "", found.fillna(""))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--chestxray14", type=Path, required=True, help="its split.csv")
    arguments.add_argument("--covid19", type=Path, required=True, help="its split.csv")
    arguments.add_argument("--pairs", type=Path, required=True, help="of the audit pretraining")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        audit_patients(**vars(arguments.parse_args()))
