"""Counts of data/counts.csv, which have to be those of the audits."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("torch")
from audit_patients import audit_patients
from count_images import count_images
from cxr.evaluation.audits import AuditOutputs

SCRIPTS = Path(__file__).parent.parent / "workflow_scripts"
CLASSES = ["normal", "viral_pneumonia", "covid19"]
PAPER = {f"{name}_images": 100 for name in CLASSES}


@pytest.fixture
def tables(tmp_path):
    """Paths by argument: three images of each class, of which the first two are of one patient.

    The patient of image 0 is known, that of image 1 by its picture in ChestX-ray14; image 3 only
    looks like one there; image 8 is excluded.
    """
    images = [f"{number}.png" for number in range(9)]
    classes = [name for name in CLASSES for _ in range(3)]
    splits = ["train", "test", "val"] * 2 + ["train", "test", "excluded"]
    rows = {
        "chestxray14": {
            "image": ["n0", "n1", "n2"], "patient_id": [5, 5, 6], "split": ["train", "train", "val"]
        },
        "archive": {"image": ["n0", "n1", "n2"], "reason": ["", "", "damaged"]},
        "manifest": {"image": images, "class": classes},
        "covid19": {
            "image": images, "class": classes, "split": splits, "sha256": images,
            "reason": [""] * 8 + ["lateral"],
            "patient_id": ["ChestX-ray14 5", *[""] * 7, "ChestX-ray14 5"],
        },
        "duplicates": {
            "image": ["0.png", "1.png", "7.png"], "duplicate": ["1.png", "2.png", "8.png"],
            "class": ["normal", "normal", "covid19"],
            "duplicate_class": ["normal", "normal", "normal"], "kind": ["exact", "near", "near"],
        },
        "pairs": {
            "image": ["1.png", "3.png"], "chestxray14_image": ["n0", "n2"],
            "same_picture": [True, False],
        },
        "augmented": {"image": ["0.png", "0.png"], "class": ["normal", "normal"]},
    }  # fmt: skip
    for name, columns in rows.items():
        pd.DataFrame(columns).to_csv(tmp_path / f"{name}.csv", index=False)
    return {name: tmp_path / f"{name}.csv" for name in rows}


def counted(tables, out):
    given = {name: path for name, path in tables.items() if name != "archive"}
    count_images(**given, archives=[tables["archive"]], paper=PAPER, out=out)
    return pd.read_csv(out).set_index("what").ours


def test_patients_are_counted_as_the_audit_does(tables, tmp_path):
    counts = counted(tables, tmp_path / "counts.csv")
    assert counts["images_of_known_patients"] == 2
    assert counts["patients_in_several_splits"] == 1
    out = AuditOutputs(*(tmp_path / name for name in ("p.csv", "p.finding.csv", "p.svg")))
    audit_patients(tables["chestxray14"], tables["covid19"], tables["pairs"], out)
    result = pd.read_csv(tmp_path / "p.finding.csv").result[0]
    assert "COVID-19 database: 1 of 1 known patients have images in two splits or more" in result
    assert "the patient of 6 of 8 images is not known" in result


def test_where_no_patient_is_known_none_is_counted_in_splits(tables, tmp_path):
    split = pd.read_csv(tables["covid19"])
    split.assign(patient_id="").to_csv(tables["covid19"], index=False)
    pairs = pd.read_csv(tables["pairs"])
    pairs.assign(same_picture=False).to_csv(tables["pairs"], index=False)
    counts = counted(tables, tmp_path / "counts.csv")
    assert counts["images_of_known_patients"] == 0
    assert np.isnan(counts["patients_in_several_splits"])


def test_duplicates_of_excluded_images_are_in_no_split_or_class(tables, tmp_path):
    counts = counted(tables, tmp_path / "counts.csv")
    assert (counts["exact_duplicate_pairs"], counts["near_duplicate_pairs"]) == (1, 2)
    assert counts["duplicate_pairs_across_splits"] == 2
    assert counts["duplicate_pairs_across_classes"] == 0


def test_class_without_test_images_is_counted_as_0(tables, tmp_path):
    split = pd.read_csv(tables["covid19"], keep_default_na=False)
    split.loc[split["class"] == "covid19", "split"] = "train"
    split.to_csv(tables["covid19"], index=False)
    assert counted(tables, tmp_path / "counts.csv")["test_images_per_class"] == 0


def test_class_without_images_is_counted_as_0(tables, tmp_path):
    for name in ("manifest", "covid19"):
        table = pd.read_csv(tables[name], keep_default_na=False)
        table[table["class"] != "covid19"].to_csv(tables[name], index=False)
    counts = counted(tables, tmp_path / "counts.csv")
    assert counts["covid19_images"] == counts["covid19_train_images"] == 0


def test_command_line(tables, tmp_path):
    command = [sys.executable, SCRIPTS / "count_images.py", "--paper", json.dumps(PAPER)]
    for name, path in tables.items():
        command += [f"--{'archives' if name == 'archive' else name}", path]
    subprocess.run([*command, "--out", tmp_path / "counts.csv"], check=True)
    assert len(pd.read_csv(tmp_path / "counts.csv")) > 20
