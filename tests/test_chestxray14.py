"""NIH's label table in both its versions, and the split at its full size."""

import gzip
import io
import tarfile

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("isal")
from cxr.cli import InputError
from cxr.data.chestxray14 import LABELS, read_labels
from cxr.data.image_sets import open_by_split
from prepare_chestxray14 import prepare_chestxray14
from split_patients import split_patients

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
        ([ROWS[0], ROWS[0]], "line 3: found '00000001_000.png'.*expected it in one row"),
        ([ROWS[2].replace("Pneumonia", "Flu")], "unknown finding 'Flu' of image 00000002_000.png"),
        ([], "no rows"),
        ([ROWS[0], ROWS[2].replace("Pneumonia", "NA")], "line 3, '00000002_000.png': found 'NA'"),
        ([ROWS[2].replace("Pneumonia", "None")], "line 2, '00000002_000.png': found 'None'"),
        ([ROWS[2].replace("Pneumonia", "")], "line 2, '00000002_000.png': found ''"),
        ([ROWS[2].replace("Pneumonia", "Pneumonia|")], "unknown finding '' of image 00000002_000"),
        ([ROWS[2].replace("Pneumonia", "No Finding|Mass")], "'No Finding' or findings"),
        ([ROWS[2].replace(",2,", ",,")], "line 2, '00000002_000.png': found '' in .*'Patient ID'"),
        ([ROWS[2].replace(",2,", ",NaN,")], "found 'NaN' in the column 'Patient ID'"),
        ([*ROWS[:2], ROWS[2].replace(",2,", ",inf,")], "patient 'inf' of image 00000002_000.png"),
        ([ROWS[0], ROWS[2][:30]], "line 3, '00000002_000.png': found 4 fields, expected 11"),
    ],
)
def test_mistakes_are_named(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        read_labels(write(tmp_path / "labels.csv", rows))


@pytest.mark.parametrize(
    ("written", "patients"),
    [(["1", "001", "2.0"], [1, 1, 2]), (["1", "A7", "B001"], ["1", "A7", "B001"])],
)
def test_patients_are_numbers_where_all_are(tmp_path, written, patients):
    rows = [
        row.replace(f",0,{row[7]},", f",0,{name},").replace(",1,1,", f",1,{name},")
        for row, name in zip(ROWS, written, strict=True)
    ]
    assert read_labels(write(tmp_path / "labels.csv", rows)).patient_id.tolist() == patients


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


def test_nih_s_two_lists(real_data, tmp_path):
    folder = real_data / "chestxray14-labels"
    train_val = b"".join(
        gzip.decompress((folder / f"{name}_list.txt.gz").read_bytes()) for name in ("train", "val")
    )
    (tmp_path / "train_val.txt").write_bytes(train_val)
    lists = [tmp_path / "train_val.txt", folder / "test_list.txt.gz"]
    labels = folder / "Data_Entry_2017_v2020.csv.gz"
    split_patients(labels, tmp_path / "split.csv", seed=0, lists=lists)
    table = pd.read_csv(tmp_path / "split.csv")
    assert (table.split == "test").sum() == 22_433
    assert (table.split == "val").sum() == pytest.approx(89_687 / 8, rel=0.01)
    assert table.groupby("patient_id").split.nunique().max() == 1


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


def png(seed, size=40):
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(f"images/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.fixture
def nih(tmp_path):
    """(archive, labels, out) of three images, the second of which is cut short."""
    names = [row[:16] for row in ROWS]
    contents = [png(1), png(2)[:-200], png(3)]
    archive = write_archive(tmp_path / "images.tar.gz", dict(zip(names, contents, strict=True)))
    return archive, write(tmp_path / "labels.csv", ROWS), tmp_path / "images.npy"


def test_an_archive_becomes_an_array_and_a_bad_image_is_named(nih, capsys):
    archive, labels, out = nih
    prepare_chestxray14(archive, labels, 16, 0.5, out)
    pixels, table = np.load(out), pd.read_csv(out.with_suffix(".csv"))
    expected = Image.open(io.BytesIO(png(3))).resize((16, 16), Image.Resampling.BILINEAR)
    assert (pixels[2] == np.asarray(expected)).all()
    assert not pixels[1].any()
    assert table.reason.notna().tolist() == [False, True, False]
    np.save(out.with_name("saved.npy"), pixels)
    assert out.read_bytes() == out.with_name("saved.npy").read_bytes()
    assert "1 of 3 images can't be used, first 00000001_001.png" in capsys.readouterr().err


def test_what_macos_puts_into_an_archive_is_no_image(nih):
    archive, labels, out = nih
    names = [row[:16] for row in ROWS]
    more = {f"._{name}": b"no image" for name in names}
    more |= {f"../__MACOSX/{name}": b"no image" for name in names}
    write_archive(archive, more | {name: png(1) for name in names})
    prepare_chestxray14(archive, labels, 16, 0, out)
    assert pd.read_csv(out.with_suffix(".csv")).image.tolist() == names


def test_guesses_of_decoding_are_in_the_log(nih, capsys):
    archive, labels, out = nih
    buffer = io.BytesIO()
    Image.fromarray(np.full((40, 40), 4000, np.uint16)).save(buffer, "PNG")
    write_archive(archive, {ROWS[0][:16]: buffer.getvalue()})
    prepare_chestxray14(archive, labels, 16, 0, out)
    assert f"{ROWS[0][:16]}: depth guessed: values reach 4000" in capsys.readouterr().err


def test_too_many_bad_images_stop_the_step(nih):
    archive, labels, out = nih
    with pytest.raises(InputError, match=r"1 of 3 images can't be used.*at most 1.00% may be so"):
        prepare_chestxray14(archive, labels, 16, 0.01, out)
    assert not out.exists()


def test_no_split_takes_a_bad_image(nih, tmp_path, capsys):
    archive, labels, out = nih
    prepare_chestxray14(archive, labels, 16, 0.5, out)
    table = read_labels(labels).assign(split=["train", "train", "val"])
    table.to_csv(tmp_path / "split.csv", index=False)
    opened = open_by_split([out], tmp_path / "split.csv", "train", ["Pneumonia"])
    assert opened.images.tolist() == ["00000001_000.png"]
    assert "1 train images can't be used" in capsys.readouterr().err


def test_image_without_a_label_and_label_without_an_image(nih, tmp_path):
    archive, labels, out = nih
    with pytest.raises(InputError, match=r"image 00000002_000.png has no row in"):
        prepare_chestxray14(archive, write(tmp_path / "two.csv", ROWS[:2]), 16, 0.5, out)
    prepare_chestxray14(archive, labels, 16, 0.5, out)
    more = read_labels(labels).assign(split="train")
    more.loc[3] = more.loc[0]
    more.loc[3, "image"] = "00000009_000.png"
    more.to_csv(tmp_path / "split.csv", index=False)
    with pytest.raises(InputError, match=r"1 images are in no archive, first: 00000009_000.png"):
        open_by_split([out], tmp_path / "split.csv", "train", ["Pneumonia"])


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: content[:-4] + b"abcd",
        lambda content: content[:900] + bytes([content[900] ^ 4]) + content[901:],
        lambda content: b"<html>not found</html>",
        lambda content: b"",
    ],
    ids=["cut short", "wrong sum", "one bit", "html", "empty"],
)
def test_a_damaged_archive_stops_the_step(nih, damage):
    archive, labels, out = nih
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(InputError, match=r"not a whole tar.gz archive"):
        prepare_chestxray14(archive, labels, 16, 0.5, out)
    assert not out.exists()


def test_real_archives_give_pil_s_bytes(real_data, tmp_path):
    folder = real_data / "chestxray14-mini"
    out = tmp_path / "images.npy"
    prepare_chestxray14(
        folder / "images_001.tar.gz", folder / "Data_Entry_2017_v2020.csv", 224, 0, out
    )
    pixels = iter(np.load(out))
    with tarfile.open(folder / "images_001.tar.gz") as archive:
        for member in archive:
            if member.isfile():
                image = Image.open(archive.extractfile(member)).convert("RGB").convert("L")
                expected = image.resize((224, 224), Image.Resampling.BILINEAR)
                assert (next(pixels) == np.asarray(expected)).all(), member.name
    assert next(pixels, None) is None
