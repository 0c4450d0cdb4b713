"""Count images at each step beside the paper's numbers, and say why they differ."""

import json
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.overlaps import (
    patients_across_splits,
    read_covid19_patients,
    used_duplicates,
    used_images,
)
from cxr.data.splits import SPLITS
from cxr.files import write_table

OTHER_DATA = "the sources hold other images than the paper's"
AUGMENTED = {
    "covid19": "the paper's 8409 is 0.8 x 146 x 72 cut off, no count: 117 x 72 is 8424",
    "normal": "0.8 x (1341 - 60) x 8 is 8200 (1025 images); the paper's 8128 is 1016 images",
    "viral_pneumonia": "0.8 x (1345 - 60) x 8 is 8224 (1028 images); the paper's 8128 is 1016",
}


def count_images(
    chestxray14, archives, manifest, covid19, duplicates, pairs, augmented, paper, out
):
    nih = read_image_table(chestxray14, ["patient_id", "split"])
    database = read_image_table(manifest, ["class"])
    read = pd.concat(read_image_table(archive, ["reason"]) for archive in archives)
    split, variants = read_image_table(covid19, ["reason"]), read_image_table(augmented)
    rows = [
        ("chestxray14_images", len(nih), OTHER_DATA),
        ("chestxray14_patients", nih.patient_id.nunique(), OTHER_DATA),
        *((f"chestxray14_{name}_images", int((nih.split == name).sum()), "") for name in SPLITS),
        ("chestxray14_unreadable", int((read.reason != "").sum()), ""),
        *(
            (f"{name}_images", int((database["class"] == name).sum()), OTHER_DATA)
            for name in CLASSES
        ),
        ("lateral_views", int((split.reason == "lateral").sum()), OTHER_DATA),
        ("covid19_database_unreadable", int((split.reason == "unreadable").sum()), ""),
        *duplicate_pairs(duplicates, covid19),
        *patients(read_covid19_patients(covid19, chestxray14, pairs)),
    ]
    tests = split[split.split == "test"]["class"].value_counts().reindex(CLASSES, fill_value=0)
    rows.append(
        ("test_images_per_class", int(tests.min()), "covid19.test_images_per_class is set so")
    )
    found = database["class"].value_counts().reindex(CLASSES, fill_value=0)
    for name in CLASSES:
        same_data = found[name] == paper[f"{name}_images"]
        for part in ("train", "val"):
            chosen = (split.split == part) & (split["class"] == name)
            rows.append((f"{name}_{part}_images", int(chosen.sum()), ""))
        n = int((variants["class"] == name).sum())
        rows.append((f"{name}_train_augmented", n, AUGMENTED[name] if same_data else OTHER_DATA))
    table = pd.DataFrame(rows, columns=["what", "ours", "why_they_differ"])
    table.insert(2, "paper", table.what.map(paper).astype("Int64"))
    same = table.paper.isna() | (table.paper == table.ours)
    table.loc[same, "why_they_differ"] = ""
    write_table(out, table)


def duplicate_pairs(duplicates, split):
    """Rows that count pairs of duplicates, as the audit duplicates does where splits matter."""
    pairs, used = read_image_table(duplicates, ["kind"]), used_duplicates(duplicates, split)
    across = used.split != used.duplicate_split
    return [
        ("exact_duplicate_pairs", int((pairs.kind == "exact").sum()), ""),
        ("near_duplicate_pairs", int((pairs.kind == "near").sum()), ""),
        ("duplicate_pairs_across_splits", int(across.sum()), ""),
        ("duplicate_pairs_across_classes", int((used["class"] != used.duplicate_class).sum()), ""),
    ]


def patients(split):
    """Rows that count the COVID-19 database's patients, as the audit patients does.

    Where no patient is known, none is counted in several splits: empty.
    """
    known = int((used_images(split).patient_id != "").sum())
    return [
        ("images_of_known_patients", known, ""),
        ("patients_in_several_splits", len(patients_across_splits(split)) if known else "", ""),
    ]


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--chestxray14", type=Path, required=True, help="split.csv of this data set"
    )
    arguments.add_argument(
        "--archives", type=Path, nargs="+", required=True, help="CSVs of prepare_chestxray14"
    )
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of download_covid19")
    arguments.add_argument("--duplicates", type=Path, required=True, help="CSV of find_duplicates")
    arguments.add_argument("--covid19", type=Path, required=True, help="split.csv of this data set")
    arguments.add_argument("--pairs", type=Path, required=True, help="CSV of audit_pretraining")
    arguments.add_argument(
        "--augmented", type=Path, required=True, help="CSV of the train variants"
    )
    arguments.add_argument("--paper", type=json.loads, required=True, help="JSON: what -> count")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        count_images(**vars(arguments.parse_args()))
