"""ChestX-ray14's label table, as NIH ships it (2017 and v2020)."""

import pandas as pd

from cxr.logs import InputError

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


def read_labels(path):
    """Read a label table: image, patient_id, then a 0/1 column for each of LABELS.

    Raises InputError for a missing column, a finding that is not one of LABELS, two rows for
    one image, or an empty table.
    """
    columns = ["Image Index", "Finding Labels", "Patient ID"]
    # index_col=False: each row of the 2017 file ends with a comma that the columns don't count.
    table = pd.read_csv(path, index_col=False, dtype={"Image Index": str})
    if missing := [column for column in columns if column not in table]:
        raise InputError(
            f"{path}: no column {missing[0]!r}; expected ChestX-ray14's label table with {columns}"
        )
    if table.empty:
        raise InputError(f"{path}: the label table has no rows")
    images = table["Image Index"]
    if images.duplicated().any():
        raise InputError(f"{path}: two rows for image {images[images.duplicated()].iloc[0]}")
    found = table["Finding Labels"].str.get_dummies("|")
    if unknown := sorted(set(found) - set(LABELS)):
        row = images[found[unknown[0]] == 1].iloc[0]
        raise InputError(f"{path}: unknown finding {unknown[0]!r} of image {row}")
    found = found.reindex(columns=LABELS, fill_value=0)
    return pd.concat(
        [images.rename("image"), table["Patient ID"].rename("patient_id"), found], axis=1
    )
