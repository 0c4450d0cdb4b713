"""Tables, lists and JSON of others: read as they are meant, or refused in one line."""

import gzip
import io
import json
import zipfile

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
from cxr.cli import InputError
from cxr.contents import read_json, read_names, read_rows
from cxr.tables import read_table

PLAIN = "image,class,n\na.png,normal,1\nb.png,covid19,2\n"


def zipped(name):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, "<xml/>")
    return buffer.getvalue()


def refused(path, content, message, **options):
    """The one line with which a table of this content is refused."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=message) as caught:
        read_table(path, **{"filled": ["image", "class"], "numbers": ["n"]} | options)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path) in line
    assert "expected" in line
    return line


@pytest.mark.parametrize(
    "content",
    [
        PLAIN.encode(),
        PLAIN.encode("utf-8-sig"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        gzip.compress(PLAIN.encode()),
        PLAIN.replace("\n", ",\n").encode(),
        PLAIN.replace("\n", ",\n").replace("n,", "n", 1).encode(),
        PLAIN.replace(",", ";").encode(),
        PLAIN.replace(",", "\t").encode(),
        (PLAIN + "\n\n,,\n").encode(),
        PLAIN.replace("image,class", " image ,class ").encode(),
        "".join(
            f"{n},{line}\n" for n, line in zip(("", 0, 1), PLAIN.split(), strict=True)
        ).encode(),
    ],
    ids=[
        "plain", "byte order mark", "CRLF", "CR", "gzip", "comma more", "comma more in rows",
        "semicolons", "tabs", "blank lines", "blanks in header", "index without a name",
    ],
)  # fmt: skip
def test_readable_tables_read_alike(tmp_path, content):
    (tmp_path / "t.csv").write_bytes(content)
    table = read_table(tmp_path / "t.csv", filled=["image", "class"], numbers=["n"])
    assert table.to_dict("list") == {
        "image": ["a.png", "b.png"],
        "class": ["normal", "covid19"],
        "n": [1, 2],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"),
        ("\n \n", "blank lines"),
        ("<!DOCTYPE html>\n<p>log in, please</p>", "HTML"),
        ("\n  <html><p>a, b</p>", "HTML"),
        (zipped("xl/workbook.xml"), "an Excel workbook.*CSV UTF-8"),
        (zipped("t.csv"), "a zip archive.*unpack"),
        (PLAIN.encode("utf-16"), "UTF-16"),
        (PLAIN.encode("utf-16-be"), "UTF-16"),
        (PLAIN.encode("utf-32"), "UTF-32"),
        (PLAIN.replace("b.png", "ü.png").encode("latin-1"), "line 3: found bytes that are not UTF"),
        (PLAIN.replace("b.png", "b\0png"), "line 3: found a NUL"),
        (b"\0" * 500, "zeros"),
        (gzip.compress(PLAIN.encode())[:-9], "cut or damaged gzip"),
        (gzip.compress(b"<html>"), "unpacked: found an HTML"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n", "Git LFS pointer"),
        ('{"message": "Not Found"}', "found JSON"),
        (b"%PDF-1.4", "a PDF"),
        (b"\xd0\xcf\x11\xe0" * 9, "Office"),
        (PLAIN.replace("b.png", '"b.png'), "line 3: found a quote"),
        (PLAIN.replace("b.png", '"b"png'), "line 3: found a quote"),
        (PLAIN + "c.png,nor", "line 4, 'c.png': found 2 fields, expected 3"),
        (PLAIN + "c.png,normal,,4", "found 4 fields, expected 3"),
        ("image,class,n\n", "a header and no rows"),
        ("image,kind,n\na.png,normal,1\n", "no column 'class'; found"),
        ("image,class,n,n\na.png,normal,1,2\n", "column 'n' twice"),
        ("image,class,n\na.png,,1\n", "line 2, 'a.png': found '' in the column 'class'"),
        ("image,class,n\na.png, NA,1\n", "found ' NA' in the column 'class', expected a value"),
        ("image,class,n\nNone,normal,1\n", "found 'None' in the column 'image'"),
        ("image,class,n\na.png,normal,1\nb.png,normal,two\n", "line 3, 'b.png': found 'two'"),
        ("image;class;n\na.png;normal;0,5\n", "found '0,5' in the column 'n', expected a number"),
        ("image,class,n\na.png,normal,\n", "found '' in the column 'n', expected a number"),
        ("image,class,n\na.png,normal,inf\n", "found 'inf'"),
        ("image,class,n\na.png,normal,nan\n", "found 'nan'"),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, message):
    refused(tmp_path / "t.csv", content, message)


def test_texts_that_may_not_stand_there_are_named(tmp_path):
    classes = {"choices": {"class": ["normal"]}, "unique": ["image"]}
    refused(tmp_path / "t.csv", PLAIN, "line 3, 'b.png': found 'covid19'.*one of", **classes)
    twice = "image,class,n\na.png,normal,1\na.png,normal,2\n"
    refused(tmp_path / "t.csv", twice, "line 3: found 'a.png'.*one row only", **classes)


def test_excel_s_lock_file_is_named(tmp_path):
    refused(tmp_path / "~$t.csv", b"\x05Anna " + b" \0" * 70, "Excel's lock file")
    refused(tmp_path / "~$t.xlsx", b"\x05Anna " + b" \0" * 70, "Excel's lock file")


def test_workbooks(tmp_path):
    pytest.importorskip("openpyxl")
    pd.DataFrame({"image": ["a.png"], "class": ["normal"], "n": [3]}).to_excel(
        tmp_path / "t.xlsx", index=False
    )
    table = read_table(tmp_path / "t.xlsx", filled=["image", "class"], numbers=["n"])
    assert table.to_numpy().tolist() == [["a.png", "normal", 3]]
    whole = (tmp_path / "t.xlsx").read_bytes()
    refused(tmp_path / "t.xlsx", whole[: len(whole) // 2], "damaged workbook")
    refused(tmp_path / "t.xlsx", "<html>", "HTML")
    refused(tmp_path / "t.xlsx", whole, "no column 'z'", filled=["z"])


def test_a_patient_called_na_stays_a_text(tmp_path):
    (tmp_path / "t.csv").write_text(
        "image,patient_id,x,y,z,all\na,NA,1,,True,\nb,007,,2.5,False,\n"
    )
    table = read_table(tmp_path / "t.csv", text=["patient_id"])
    assert table.patient_id.tolist() == ["NA", "007"]
    assert table.x.isna().tolist() == [False, True]
    assert table.y.tolist()[1] == 2.5
    assert table.z.tolist() == [True, False]
    assert table["all"].isna().all()


def test_numbers_are_those_of_pandas(tmp_path):
    values = np.random.default_rng(0).normal(size=2000) * 10.0 ** np.arange(-1000, 1000).clip(-9, 9)
    pd.DataFrame({"x": values}).to_csv(tmp_path / "t.csv", index=False)
    found, expected = read_table(tmp_path / "t.csv").x, pd.read_csv(tmp_path / "t.csv").x
    assert (found == expected).all()


def test_tables_without_rows_where_they_may_be(tmp_path):
    (tmp_path / "t.csv").write_text("image,n\n")
    assert list(read_table(tmp_path / "t.csv", numbers=["n"], empty=True)) == ["image", "n"]


def test_rows_and_names_need_no_pandas(tmp_path):
    (tmp_path / "t.csv").write_text('image,note\na,"x\ny"\nb,\n')
    assert read_rows(tmp_path / "t.csv") == (
        ["image", "note"],
        [(2, ["a", "x\ny"]), (4, ["b", ""])],
    )
    (tmp_path / "names.txt").write_bytes(gzip.compress("\ufeffa.png\r\n\r\n b.png".encode()))
    assert read_names(tmp_path / "names.txt") == ["a.png", "b.png"]
    (tmp_path / "names.txt").write_text("\n")
    with pytest.raises(InputError, match="no name"):
        read_names(tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "an empty file"),
        ("<html>", "HTML"),
        (json.dumps({"net": "A" * 50})[:-9], "incomplete or invalid JSON"),
        ("[1]", "a JSON list"),
        ("{}", "no entry 'net'"),
    ],
)
def test_json_that_is_none_is_named(tmp_path, content, message):
    (tmp_path / "t.json").write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        read_json(tmp_path / "t.json", ["net"], "publish_net's model.json")
    assert "\n" not in str(caught.value)
