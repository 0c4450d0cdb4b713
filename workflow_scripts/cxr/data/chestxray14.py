"""ChestX-ray14's label table (2017 and v2020) and its list of boxes, as NIH ships them."""

import re

import numpy as np
import pandas as pd

from cxr.cli import InputError
from cxr.tables import read_table

# The 14 findings in the order of CheXNet's outputs.
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
LABELS = (*FINDINGS, NO_FINDING)
# Findings that the list of boxes has, by its names for them (Wang et al. 2017, arXiv 1705.02315).
BOX_NAMES = {
    "Infiltrate" if finding == "Infiltration" else finding: finding for finding in FINDINGS[:8]
}
BOXED_SIZE = 1024  # pixels, width and height of the images that boxes refer to


# Findings that radiologists labelled (Majkowska et al. 2020, doi 10.1148/radiol.2019191293), and
# those of FINDINGS that amount to each. Airspace opacity is what fills air spaces (glossary of the
# Fleischner Society, doi 10.1148/radiol.2462070712), so not Atelectasis, a loss of volume.
RADIOLOGISTS = {
    "Fracture": (),
    "Pneumothorax": ("Pneumothorax",),
    "Airspace opacity": ("Consolidation", "Edema", "Infiltration", "Pneumonia"),
    "Nodule or mass": ("Nodule", "Mass"),
}


def read_labels(path):
    """Read a label table: image, patient_id, then a 0/1 column for each of LABELS.

    patient_id is a whole number where all are, else text. Raises InputError for a missing column,
    a row without image, finding or patient, a finding that is not one of LABELS, two rows for one
    image, or an empty table.
    """
    columns = ["Image Index", "Finding Labels", "Patient ID"]
    table = read_table(path, filled=columns, unique=columns[:1])
    images = table["Image Index"]
    findings = table["Finding Labels"]

    def image_of(text):
        return images[findings == text].iloc[0]

    for text in findings.unique():
        names = text.split("|")
        if unknown := [name for name in names if name not in LABELS]:
            raise InputError(
                f"{path}: found the unknown finding {unknown[0]!r} of image {image_of(text)}, "
                f"expected some of {', '.join(LABELS)}"
            )
        if NO_FINDING in names and len(set(names)) > 1:
            raise InputError(
                f"{path}: found {text!r} for image {image_of(text)}, expected {NO_FINDING!r} "
                "or findings"
            )
    found = findings.str.get_dummies("|").reindex(columns=LABELS, fill_value=0)
    patients = as_numbers(path, images, table["Patient ID"])
    return pd.concat([images.rename("image"), patients.rename("patient_id"), found], axis=1)


def as_numbers(path, images, patients):
    """Patient IDs as whole numbers, so that 7, 007 and 7.0 are one; as text where most are none.

    Raises InputError for one that isn't where most are.
    """
    numbers = pd.to_numeric(patients, errors="coerce")
    whole = (numbers % 1 == 0) & (numbers.abs() < 2**53)
    if whole.all():
        return numbers.astype(int)
    if whole.mean() > 0.5:
        raise InputError(
            f"{path}: found the patient {patients[~whole].iloc[0]!r} of image "
            f"{images[~whole].iloc[0]}, expected a whole number as in most other rows"
        )
    return patients.str.strip()


AGE = re.compile(r"(\d+(?:\.\d+)?) *([YMWD]?)")
PER_YEAR = {"": 1, "Y": 1, "M": 12, "W": 365.25 / 7, "D": 365.25}
OLDEST = 120  # years; the table has ages such as 414, which are slips


def read_ages(path):
    """Age in years of each image of a label table, a float by image; not a number: unknown.

    Ages are written 58, 058Y, 011M (months), 003W or 010D. Raises InputError for a missing column.
    """
    columns = ["Image Index", "Patient Age"]
    table = read_table(path, columns, filled=columns[:1], unique=columns[:1], text=columns[1:])
    return pd.Series([years(text) for text in table["Patient Age"]], table["Image Index"])


def read_people(path):
    """Who is on each image of a label table: sex and view, texts as written, and age (read_ages).

    A row per image, by image. Raises InputError for a missing column.
    """
    columns = {"Patient Gender": "sex", "View Position": "view", "Patient Age": "age_text"}
    image = "Image Index"
    table = read_table(path, [*columns], filled=[image], unique=[image], text=[*columns])
    people = table.set_index(image)[[*columns]].rename(columns=columns)
    return people.assign(age=people.age_text.map(years))


def years(text):
    """An age as the label table writes it, in years; not a number if it is none, or impossible."""
    written = AGE.fullmatch(text.strip().upper())
    age = float(written[1]) / PER_YEAR[written[2]] if written else np.nan
    return age if age <= OLDEST else np.nan


def read_boxes(path):
    """Read NIH's list of boxes, BBox_List_2017.csv: image, finding, x0, y0, x1, y1.

    finding is one of FINDINGS; x0 to y1 are shares of the image's width and height, 0 to 1. Raises
    InputError for a missing column, a finding that the list doesn't have, or a box that is empty or
    leads outside the image.
    """
    box = ["Bbox [x", "y", "w", "h]"]  # one name in the header, which its commas cut
    choices = {"Finding Label": list(BOX_NAMES)}
    table = read_table(path, filled=["Image Index"], numbers=box, choices=choices)
    corner, sides = table[box[:2]].to_numpy(float), table[box[2:]].to_numpy(float)
    inside = (corner >= 0) & (sides > 0) & (corner + sides <= BOXED_SIZE)
    if (bad := ~inside.all(axis=1)).any():
        raise InputError(
            f"{path}: found the box {table.loc[bad, box].iloc[0].tolist()} of image "
            f"{table.loc[bad, 'Image Index'].iloc[0]}, expected x, y, width and height inside "
            f"{BOXED_SIZE} x {BOXED_SIZE} pixels"
        )
    corners = np.hstack([corner, corner + sides]) / BOXED_SIZE
    named = {"image": table["Image Index"], "finding": table["Finding Label"].map(BOX_NAMES)}
    return pd.DataFrame(named | dict(zip(("x0", "y0", "x1", "y1"), corners.T, strict=True)))


def read_findings(logits, split):
    """What predict_findings wrote, and the labels of the same images, (predicted, labels).

    logits: image, split, the logit of each output. split: ChestX-ray14's split.csv. predicted: the
    logits, a column per output. labels: a row for each of its rows: image, patient_id, split, 0 or
    1 for each of LABELS. Raises InputError for an output that is none of LABELS, and where an
    image isn't in the split.csv, or is there in another split.
    """
    choices = {"split": ("val", "test")}
    table = read_table(logits, filled=["image"], unique=["image"], choices=choices)
    outputs = [name for name in table if name not in ("image", "split")]
    if unknown := [name for name in outputs if name not in LABELS]:
        raise InputError(f"{logits}: found the output {unknown[0]!r}, expected some of {LABELS}")
    values = table[outputs].apply(pd.to_numeric, errors="coerce").to_numpy()
    if not np.isfinite(values).all():
        image = table.image[~np.isfinite(values).all(axis=1)].iloc[0]
        raise InputError(f"{logits}: found a logit of {image} that is no number, expected one each")
    columns = ["image", "patient_id", "split"]
    labels = read_table(split, filled=columns, numbers=outputs, unique=["image"])
    labels = labels.set_index("image").reindex(table.image).reset_index()
    if (other := labels.split != table.split).any():
        raise InputError(
            f"{logits}: found {table.image[other].iloc[0]} as a {table.split[other].iloc[0]} "
            f"image, which it isn't in {split}; are the two of one run?"
        )
    return table[outputs], labels


def read_radiologists(path):
    """Radiologists' labels of ChestX-ray14's images: bool, a column per key of RADIOLOGISTS.

    By image; they are written YES and NO. Raises InputError for a missing column or another word.
    """
    choices = dict.fromkeys(RADIOLOGISTS, ("YES", "NO"))
    table = read_table(path, filled=["Image Index"], unique=["Image Index"], choices=choices)
    return table.set_index("Image Index")[[*RADIOLOGISTS]] == "YES"
