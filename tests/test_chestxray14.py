"""NIH's label table in both its versions, and the split at its full size."""

import pytest

pd = pytest.importorskip("pandas")
from cxr.chestxray14 import LABELS, read_labels  # noqa: E402
from cxr.logs import InputError  # noqa: E402
from split_patients import split_patients  # noqa: E402

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = [
    "00000001_000.png,Cardiomegaly|Emphysema,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,No Finding,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,Pneumonia,0,2,81,M,PA,2500,2048,0.171,0.171",
]


def write(path, rows, ending=""):
    path.write_text("\n".join(line + ending for line in [HEADER, *rows]) + "\n")
    return path


@pytest.mark.parametrize("ending", ["", ","], ids=["v2020", "2017"])
def test_both_versions_read_alike(tmp_path, ending):
    table = read_labels(write(tmp_path / "labels.csv", ROWS, ending))
    assert table.image.tolist() == [row[:16] for row in ROWS]
    assert table.patient_id.tolist() == [1, 1, 2]
    assert list(table)[2:] == list(LABELS)
    assert table.loc[0, ["Cardiomegaly", "Emphysema", "No Finding"]].tolist() == [1, 1, 0]
    assert table[list(LABELS)].to_numpy().sum() == 4


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([ROWS[0], ROWS[0]], "two rows for image 00000001_000.png"),
        ([ROWS[2].replace("Pneumonia", "Flu")], "unknown finding 'Flu' of image 00000002_000.png"),
        ([], "no rows"),
    ],
)
def test_mistakes_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_labels(write(tmp_path / "labels.csv", rows))


def test_another_table_is_refused(tmp_path):
    (tmp_path / "labels.csv").write_text("image,label\na.png,1\n")
    with pytest.raises(InputError, match="no column 'Image Index'"):
        read_labels(tmp_path / "labels.csv")


def test_real_table_splits_by_patient(real_data, tmp_path):
    labels = real_data / "chestxray14-labels" / "Data_Entry_2017_v2020.csv.gz"
    split_patients(labels, tmp_path / "split.csv", seed=0)
    table = pd.read_csv(tmp_path / "split.csv")
    assert len(table) == 112_120
    assert table.patient_id.nunique() == 30_805
    assert table.groupby("patient_id").split.nunique().max() == 1
    assert table.split.value_counts(normalize=True).to_dict() == pytest.approx(
        {"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.001
    )


def test_real_lists_are_patient_disjoint(real_data, tmp_path):
    folder = real_data / "chestxray14-labels"
    lists = [folder / f"{name}_list.txt.gz" for name in ("train", "val", "test")]
    split_patients(
        folder / "Data_Entry_2017_v2020.csv.gz", tmp_path / "split.csv", seed=0, lists=lists
    )
    counts = pd.read_csv(tmp_path / "split.csv").split.value_counts().to_dict()
    assert counts == {"train": 78_468, "val": 11_219, "test": 22_433}


def test_list_with_an_unknown_image(tmp_path):
    labels = write(tmp_path / "labels.csv", ROWS)
    for name, images in {"train": ["00000009_000.png"], "val": [], "test": []}.items():
        (tmp_path / name).write_text("\n".join(images) + "\n")
    with pytest.raises(InputError, match="1 images without a label, first: 00000009_000"):
        split_patients(
            labels,
            tmp_path / "split.csv",
            0,
            lists=[tmp_path / n for n in ("train", "val", "test")],
        )
    assert not (tmp_path / "split.csv").exists()
