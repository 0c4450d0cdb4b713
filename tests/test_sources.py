"""Downloads end in the right file or in a clear error, never in a wrong file."""

import functools
import hashlib
import threading
import zipfile
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

requests = pytest.importorskip("requests")
kagglehub = pytest.importorskip("kagglehub")
from cxr.cli import InputError
from cxr.data.sources import fetch_kaggle
from download import download
from download_covid19 import download_covid19
from PIL import Image

FOLDERS = {"normal": "NORMAL", "viral_pneumonia": "Viral Pneumonia", "covid19": "COVID-19"}
CONTENT = b"an archive" * 1000
SUMS = {
    "md5": hashlib.md5(CONTENT).hexdigest(),
    "sha256": hashlib.sha256(CONTENT).hexdigest(),
    "sha256_prefix": hashlib.sha256(CONTENT).hexdigest()[:8],
    "git_blob": hashlib.sha1(b"blob 10000\0" + CONTENT).hexdigest(),
    "bytes": len(CONTENT),
}


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """URL of a server of the folder served, which holds one file."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    handler = functools.partial(QuietHandler, directory=folder)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.mark.parametrize("kind", SUMS)
def test_right_sum(server, tmp_path, kind):
    download(tmp_path / "out", url=f"{server}/file", **{kind: SUMS[kind]})
    assert (tmp_path / "out").read_bytes() == CONTENT


@pytest.mark.parametrize("kind", SUMS)
@pytest.mark.parametrize("local", [False, True])
def test_wrong_sum_leaves_nothing(server, tmp_path, kind, local):
    wrong = 7 if kind == "bytes" else "0" * len(SUMS[kind])
    source = {"local": tmp_path / "served/file"} if local else {"url": f"{server}/file"}
    with pytest.raises(InputError, match=f"{kind} is {SUMS[kind]}|expected {wrong}"):
        download(tmp_path / "out", **source, **{kind: wrong})
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["served"]


def test_missing_local_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        download(tmp_path / "out", local=tmp_path / "nothing")


@pytest.fixture
def database(tmp_path):
    """The COVID-19 database as Kaggle's zip unpacks: the class folders inside another folder."""
    root = tmp_path / "kaggle" / "COVID-19 Radiography Database"
    for folder in FOLDERS.values():
        (root / folder).mkdir(parents=True)
        Image.new("L", (4, 4)).save(root / folder / f"{folder}(69).png")
    return tmp_path / "kaggle"


def listed(tmp_path, source):
    download_covid19(tmp_path / "covid19", tmp_path / "covid19.csv", FOLDERS, local=source)
    lines = (tmp_path / "covid19.csv").read_text().splitlines()
    assert all((tmp_path / "covid19" / line.split(",")[0]).exists() for line in lines[1:])
    return [line.split(",")[:2] for line in lines[1:]]


EXPECTED = [[f"{folder}/{folder}(69).png", name] for name, folder in FOLDERS.items()]


def test_database_as_a_folder(database, tmp_path):
    assert listed(tmp_path, database) == EXPECTED


def test_the_folder_links_to_images_and_tables_and_nothing_else(database, tmp_path):
    (database / "COVID-19 Radiography Database" / "NORMAL" / "notes.txt").write_text("no image")
    (database / "COVID-19 Radiography Database" / "NORMAL.metadata.xlsx").write_text("pages")
    (tmp_path / "covid19").symlink_to(database)  # as earlier versions left it
    listed(tmp_path, database)
    links = [path for path in (tmp_path / "covid19").rglob("*") if not path.is_dir()]
    names = {path.relative_to(tmp_path / "covid19").as_posix() for path in links}
    assert names == {"NORMAL.metadata.xlsx", *(image for image, _ in EXPECTED)}
    assert all(path.is_symlink() for path in links)
    with pytest.raises(InputError, match="there is a file already"):
        root = database / "COVID-19 Radiography Database"
        download_covid19(root, tmp_path / "covid19.csv", FOLDERS, local=database)


def test_database_as_a_zip_file(database, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in database.rglob("*.png"):
            archive.write(path, path.relative_to(database))
    assert listed(tmp_path, tmp_path / "archive.zip") == EXPECTED


def test_what_macos_puts_into_a_zip_file_is_no_image(database, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in database.rglob("*.png"):
            name = path.relative_to(database)
            archive.write(path, name)
            archive.writestr(f"__MACOSX/{name.parent}/._{name.name}", b"no image")
            archive.writestr(f"{name.parent}/._{name.name}", b"no image")
    assert listed(tmp_path, tmp_path / "archive.zip") == EXPECTED


def test_masks_beside_images_become_no_radiographs(database, tmp_path, capsys):
    """As in Kaggle's versions 2 and later."""
    expected = []
    for name, folder in FOLDERS.items():
        (file,) = (database / "COVID-19 Radiography Database" / folder).glob("*.png")
        (file.parent / "images").mkdir()
        (file.parent / "Masks").mkdir()
        (file.parent / "Masks" / file.name).write_bytes(file.read_bytes())
        file.rename(file.parent / "images" / file.name)
        expected.append([f"{folder}/images/{file.name}", name])
    assert listed(tmp_path, database) == expected
    assert capsys.readouterr().err.count("1 images passed over: in folders of masks") == 3


def test_half_a_zip_file_is_refused(database, tmp_path):
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        for path in database.rglob("*.png"):
            archive.write(path, path.relative_to(database))
    content = bytearray((tmp_path / "archive.zip").read_bytes())
    content[80] ^= 1
    (tmp_path / "archive.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"not a whole zip file"):
        listed(tmp_path, tmp_path / "archive.zip")
    assert not (tmp_path / "covid19_unpacked").exists()


def refusal(status):
    response = requests.Response()
    response.status_code = status
    return kagglehub.exceptions.KaggleApiHTTPError("Client Error", response=response)


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (refusal(403), "set KAGGLE_USERNAME and KAGGLE_KEY"),
        (refusal(404), "Kaggle no longer has this version"),
        (refusal(500), "try later"),
        (requests.ConnectionError("no route"), "is this machine online"),
        (kagglehub.exceptions.UnauthenticatedError(), "Kaggle credentials"),
    ],
)
def test_kaggle_s_refusals_say_what_to_do(monkeypatch, error, advice):
    def refuse(_handle):
        raise error

    monkeypatch.setattr(kagglehub, "dataset_download", refuse)
    with pytest.raises(InputError, match=rf"{advice}.* or download it by hand and name"):
        fetch_kaggle("owner/name/versions/1")


def test_another_folder_is_refused(tmp_path):
    (tmp_path / "other" / "cats").mkdir(parents=True)
    with pytest.raises(InputError, match="found cats"):
        listed(tmp_path, tmp_path / "other")
    assert not (tmp_path / "covid19.csv").exists()
