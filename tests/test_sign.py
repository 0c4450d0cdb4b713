"""Signed results, and the zip that is passed on: what is forged is named."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from archive_results import archive_results, shows_picture
from cxr.archives import LIST, verify_archive
from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.provenance import FOLDER, sidecar_of
from cxr.signatures import SIGNATURE, SUMS, default_key
from record import record
from sign_results import sign_results
from verify_results import verify_results

COPY = "import sys, shutil; shutil.copy(*sys.argv[1:])"

if not shutil.which("ssh-keygen"):
    pytest.skip("needs ssh-keygen", allow_module_level=True)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two jobs made a table and a net's card; with keys of two people, and a crate."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("results/tables").mkdir(parents=True)
        Path("results/netA").mkdir()
        Path("source.csv").write_text("a\n1\n")
        Path("copy.py").write_text(COPY)
        for result in ("results/tables/table3.csv", "results/netA/model_card.md"):
            command = [sys.executable, "copy.py", "source.csv", result]
            assert record(["source.csv"], [result], [], command) == 0
        crate = {"@graph": [{"@id": "./", "hasPart": [{"@id": "tables/table3.csv"}]}]}
        Path("results/ro-crate-metadata.json").write_text(json.dumps(crate))
        for name in ("key", "other"):
            words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", name]
            subprocess.run(words, check=True)
        Path("signers").write_text(f"ann@example.org {Path('key.pub').read_text()}")
    return folder


@pytest.fixture
def run(made, tmp_path, monkeypatch):
    """A copy of it, where tests start, with nothing of the user's own keys and settings."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    return tmp_path


def forge(path, content):
    """Change a result and the sum in its sidecar, as one does who wants to be believed."""
    Path(path).write_text(content)
    sidecar = json.loads(sidecar_of(path).read_text())
    sidecar["outputs"][path] = sha256_of(path)
    sidecar_of(path).write_text(json.dumps(sidecar))


def verify(signers=None):
    verify_results(FOLDER, 1, signers)


def test_signed_results_say_who_signed(run, capsys):
    verify()
    assert "not signed" in capsys.readouterr().out
    sign_results("key", 1)
    verify("signers")
    assert "5 files are what ann@example.org with ED25519 key SHA256:" in capsys.readouterr().out
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], check=True)


def test_crate_carries_the_signature_and_signing_again_changes_nothing(run):
    sign_results("key", 1)
    before = [path.read_bytes() for path in (SUMS, SIGNATURE)]
    crate = json.loads(Path("results/ro-crate-metadata.json").read_text())
    parts = [part["@id"] for part in crate["@graph"][0]["hasPart"]]
    assert parts == ["tables/table3.csv", "provenance/SHA256SUMS", "provenance/SHA256SUMS.sig"]
    sign_results("key", 1)
    assert [path.read_bytes() for path in (SUMS, SIGNATURE)] == before


def test_forged_pair_of_result_and_sidecar_is_named(run, capsys):
    sign_results("key", 1)
    forge("results/tables/table3.csv", "a\n2\n")
    with pytest.raises(InputError, match="2 files are not what ED25519 key"):
        verify()
    out = capsys.readouterr().out
    assert "results/tables/table3.csv is not what was signed" in out
    assert f"{FOLDER}/tables/table3.csv.json is not what was signed" in out


def test_removed_and_added_pairs_are_named(run, capsys):
    sign_results("key", 1)
    for path in (Path("results/netA/model_card.md"), sidecar_of("results/netA/model_card.md")):
        path.unlink()
    command = [sys.executable, "copy.py", "source.csv", "results/tables/new.csv"]
    assert record(["source.csv"], ["results/tables/new.csv"], [], command) == 0
    with pytest.raises(InputError, match="4 files"):
        verify()
    out = capsys.readouterr().out
    assert "results/netA/model_card.md is missing, but was signed" in out
    assert "results/tables/new.csv was not signed" in out


def test_forged_list_or_stranger_is_refused(run):
    sign_results("key", 1)
    forge("results/tables/table3.csv", "a\n2\n")
    sign_results("other", 1)
    verify()  # by somebody
    with pytest.raises(InputError, match="none of the keys in signers"):
        verify("signers")
    SUMS.write_text(SUMS.read_text().replace("a", "b", 1))
    with pytest.raises(InputError, match="no signature of"):
        verify()
    SIGNATURE.unlink()
    with pytest.raises(FileNotFoundError):
        verify()
    SUMS.unlink()
    with pytest.raises(InputError, match="the results are not signed"):
        verify("signers")


def test_changed_results_are_not_signed(run):
    Path("results/tables/table3.csv").write_text("a\n2\n")
    with pytest.raises(InputError, match="1 of 3 files"):
        sign_results("key", 1)
    assert not SIGNATURE.exists()


def test_key_of_git_or_home(run):
    with pytest.raises(InputError, match="ssh-keygen -t ed25519 makes one"):
        default_key()
    Path(".ssh").mkdir()
    Path("key").rename(".ssh/id_ed25519")
    assert default_key() == run / ".ssh/id_ed25519"
    Path("gitconfig").write_text(f"[gpg]\nformat = ssh\n[user]\nsigningkey = {run}/other\n")
    assert default_key() == run / "other"
    with pytest.raises(InputError, match="can't sign with it"):
        sign_results("source.csv", 1)


# The archive


@pytest.fixture
def archive(run):
    sign_results("key", 1)
    archive_results(Path("a.zip"))
    return Path("a.zip")


def rewritten(archive, changes):
    """A copy of a zip, its list of sums made right again; changes: {name: bytes or None}."""
    with zipfile.ZipFile(archive) as file:
        members = {name: file.read(name) for name in file.namelist()} | changes
    members = {name: content for name, content in members.items() if content is not None}
    path = archive.with_name("forged.zip")
    del members[LIST]
    folder = archive.parent / "unpacked"
    lines = []
    for name, content in sorted(members.items()):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        lines.append(f"{sha256_of(folder / name)}  {name}\n")
    with zipfile.ZipFile(path, "w") as file:
        for name, content in (members | {LIST: "".join(lines)}).items():
            file.writestr(name, content)
    return path


def test_archive_has_the_same_bytes_each_time(archive, capsys):
    archive_results(Path("b.zip"))
    assert archive.read_bytes() == Path("b.zip").read_bytes()
    for path in Path("results").rglob("*.csv"):
        path.touch()
    archive_results(Path("b.zip"))
    assert archive.read_bytes() == Path("b.zip").read_bytes()
    verify_archive(archive, "signers")
    assert "signed by ann@example.org" in capsys.readouterr().out


def test_archive_is_enough_to_run_the_workflow_and_to_check_sums(archive, tmp_path):
    shutil.unpack_archive(archive, "elsewhere")
    subprocess.run(["sha256sum", "--check", "--quiet", LIST], cwd="elsewhere", check=True)
    script = "workflow/workflow_scripts/verify_results.py"
    words = ["--archive", tmp_path / "a.zip", "--signers", tmp_path / "signers"]
    done = subprocess.run(
        [sys.executable, script, *words], cwd="elsewhere", text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    assert "ann@example.org" in done.stdout
    assert "- `source.csv`" in Path("elsewhere/README.md").read_text()


def test_forged_pair_in_an_archive_is_named(archive, capsys):
    content = b"a\n9\n"
    Path("forged.csv").write_bytes(content)
    place = str(sidecar_of("results/tables/table3.csv"))
    sidecar = json.loads(Path(place).read_text())
    sidecar["outputs"]["results/tables/table3.csv"] = sha256_of("forged.csv")
    changes = {"results/tables/table3.csv": content, place: json.dumps(sidecar).encode()}
    with pytest.raises(InputError, match="2 files are not what the run made"):
        verify_archive(rewritten(archive, changes))
    assert "results/tables/table3.csv is not what was signed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"results/tables/table3.csv": b"a\n9\n"}, "table3.csv is not what was made"),
        ({"results/tables/table4.csv": b"a\n9\n"}, "table4.csv was not made"),
        ({str(sidecar_of("results/tables/table3.csv")): None}, "is missing, but was signed"),
        ({str(sidecar_of("results/tables/table3.csv")): b"{}"}, "table3.csv.json"),
        ({str(SIGNATURE): b"none"}, "no signature of"),
        ({str(SUMS): None}, "damaged"),
    ],
)
def test_each_forgery_in_an_archive_is_named(archive, capsys, changes, said):
    with pytest.raises(InputError) as caught:
        verify_archive(rewritten(archive, changes))
    assert said in capsys.readouterr().out + str(caught.value)


def test_damage_is_one_line(archive, capsys):
    content = archive.read_bytes()
    place = content.index(b"a\n1\n")
    damaged = {
        "cut": content[:-100],
        "empty": b"",
        "other": b"PK\3\4 is how zips start",
        "flipped": content[:place] + b"b" + content[place + 1 :],
    }
    for name, found in damaged.items():
        Path(name).write_bytes(found)
        with pytest.raises(InputError, match=rf"{name}: damaged, or no zip"):
            verify_archive(Path(name))


def test_a_name_twice_in_a_zip(archive):
    with pytest.warns(UserWarning), zipfile.ZipFile(archive, "a") as file:
        file.writestr("results/tables/table3.csv", "a\n9\n")
    with pytest.raises(InputError, match=r"table3\.csv is in it twice"):
        verify_archive(archive)


@pytest.mark.parametrize(
    ("name", "content", "shown"),
    [
        ("a.svg", b'<svg><image xlink:href="data:image/png;base64,xx"/></svg>', True),
        ("a.svg", b"<svg><path d='M 0 0'/></svg>", False),
        ("a.html", b"<img src='gallery/0.png'>", True),
        ("a.html", b"<a href='../../README.md'>", False),
        ("a.jpg", b"", True),
    ],
)
def test_pictures_of_patients_are_recognised(name, content, shown):
    assert shows_picture(name, content) is shown
