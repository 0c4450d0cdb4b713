"""Sidecars of jobs: what they hold, and what verify and trace make of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cxr import provenance
from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.provenance import code_version, packages, read_sidecar, sidecar_of
from mutations import mutations
from record import record
from trace_result import trace_result
from verify_results import verify_results

RECORD = Path(__file__).parent.parent / "workflow_scripts" / "record.py"
COPY = "import sys, shutil; shutil.copy(*sys.argv[1:])"


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """Two jobs made results/a.csv from source.csv, and results/b/c.csv from that."""
    monkeypatch.chdir(tmp_path)
    Path("results/b").mkdir(parents=True)
    Path("source.csv").write_text("1\n")
    Path("copy.py").write_text(COPY)
    for source, result in (("source.csv", "results/a.csv"), ("results/a.csv", "results/b/c.csv")):
        assert record([source], [result], [], [sys.executable, "copy.py", source, result]) == 0
    return tmp_path


def test_sidecar_says_from_what_by_what_and_where(chain):
    record = json.loads(Path("results/provenance/jobs/b/c.csv.json").read_text())
    assert sidecar_of("results/b/c.csv") == Path("results/provenance/jobs/b/c.csv.json")
    assert record["inputs"] == {"results/a.csv": sha256_of("results/a.csv")}
    assert record["outputs"] == {"results/b/c.csv": sha256_of("source.csv")}
    assert record["command"][1:] == ["copy.py", "results/a.csv", "results/b/c.csv"]
    assert record["machine"]["host"] == os.uname().nodename
    assert record["packages"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["packages"]["pytest"] == pytest.__version__
    assert record["peak_memory_mb"] > 1 and record["seconds"] > 0 and record["cpu_seconds"] > 0


def test_sums_that_are_outputs_are_written(chain):
    command = [sys.executable, "copy.py", "source.csv", "results/z.csv"]
    outputs = ["results/z.csv", "results/z.csv.sha256"]
    assert record(["source.csv"], outputs, [], command, code="abc") == 0
    assert Path(outputs[1]).read_text() == f"{sha256_of('source.csv')}  z.csv\n"
    sidecar = read_sidecar("results/provenance/jobs/z.csv.json")
    assert sidecar["outputs"] == {path: sha256_of(path) for path in outputs}
    assert sidecar["code"]["sha256"] == "abc"


def test_failed_step_leaves_its_exit_code_and_no_sidecar(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert record([], ["results/a.csv"], [], [sys.executable, "-c", "raise SystemExit(3)"]) == 3
    assert not Path("results").exists()


def test_signals_reach_the_step(tmp_path):
    """As SLURM and kill send it; the step saves what it has and ends with a code of its own."""
    step = (
        "import signal, sys, time; signal.signal(15, lambda *_: (open('saved', 'w'), sys.exit(7)))"
    )
    step += "; open('ready', 'w'); time.sleep(60)"
    command = [sys.executable, RECORD, "--outputs", "results/a", "--", sys.executable, "-c", step]
    process = subprocess.Popen(command, cwd=tmp_path)
    while not (tmp_path / "ready").exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 7
    assert (tmp_path / "saved").exists()


def test_folders_have_a_sum_without_what_snakemake_puts_there(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner/a").write_text("a")
    before = sha256_of(tmp_path)
    (tmp_path / ".snakemake_timestamp").touch()
    assert sha256_of(tmp_path) == before
    (tmp_path / "inner/a").rename(tmp_path / "inner/b")
    assert sha256_of(tmp_path) != before


def test_verify_finds_nothing_in_what_is_as_it_was(chain, capsys):
    verify_results(Path("results/provenance/jobs"), 1)
    assert "3 files of 2 jobs match their sidecars" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changed", "dependents"),
    [
        ("source.csv", ["results/a.csv", "results/b/c.csv"]),
        ("results/a.csv", ["results/b/c.csv"]),
        ("results/b/c.csv", []),
    ],
)
def test_verify_names_a_flipped_byte_and_what_depends_on_it(chain, capsys, changed, dependents):
    content = bytearray(Path(changed).read_bytes())
    content[0] ^= 1
    Path(changed).write_bytes(content)
    with pytest.raises(InputError, match="1 of 3 files have changed or are missing"):
        verify_results(Path("results/provenance/jobs"), 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{changed} is not what its sidecar says"
    assert lines[1:] == [f"    {path} depends on it" for path in dependents]


def test_verify_names_what_is_missing(chain, capsys):
    Path("results/a.csv").unlink()
    with pytest.raises(InputError):
        verify_results(Path("results/provenance/jobs"), 1)
    assert "results/a.csv is missing" in capsys.readouterr().out


def test_verify_names_results_of_an_older_input(chain, capsys):
    """The first job ran again, on another source; the second did not."""
    Path("source.csv").write_text("2\n")
    command = [sys.executable, "copy.py", "source.csv", "results/a.csv"]
    assert record(["source.csv"], ["results/a.csv"], [], command) == 0
    with pytest.raises(InputError):
        verify_results(Path("results/provenance/jobs"), 1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "results/a.csv is newer than what was made from it"


def test_temporary_outputs_may_be_gone(chain):
    command = [sys.executable, "copy.py", "source.csv", "results/t.csv"]
    assert record(["source.csv"], ["results/t.csv"], ["results/t.csv"], command) == 0
    Path("results/t.csv").unlink()
    verify_results(Path("results/provenance/jobs"), 1)


def test_trace_goes_back_to_the_source(chain, capsys):
    trace_result(["results/b/c.csv"], -1)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"results/b/c.csv  sha256 {sha256_of('source.csv')}")
    assert lines[1].endswith("copy.py results/a.csv results/b/c.csv")
    assert os.uname().nodename in lines[2] and "commit" in lines[2]
    assert lines[-1].strip() == f"source.csv  sha256 {sha256_of('source.csv')}"


def test_trace_of_what_no_job_made(chain):
    with pytest.raises(InputError, match="made by no job of"):
        trace_result(["results/z.csv"], -1)


def test_folder_without_sidecars(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no sidecar; start in the folder that holds results"):
        provenance.read_sidecars()


# Nothing in recording costs a step its result


def record_copy(**options):
    """Record a step that copies source.csv; its sidecar."""
    step = [sys.executable, "copy.py", "source.csv", "results/z.csv"]
    assert record(["source.csv"], ["results/z.csv"], [], step, **options) == 0
    return read_sidecar("results/provenance/jobs/z.csv.json")


def command_on_path(folder, monkeypatch, name, script):
    """Put a shell script on PATH, before all others."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


A100 = {"name": "NVIDIA A100, 80GB", "driver": "550.54", "uuid": "GPU-1a"}


@pytest.mark.parametrize(
    ("says", "expected", "warnings"),
    [
        ("echo 'NVIDIA A100, 80GB, 550.54, GPU-1a'", [A100], 0),
        ("echo 'WARNING: a, b'; echo 'NVIDIA A100, 80GB, 550.54, GPU-1a'", [A100], 1),
        ("echo 'No devices were found'", None, 1),
        ("echo 'couldn t communicate' >&2; exit 9", None, 1),
        (r"printf '\377\376, , \n'", None, 1),
        ("kill -9 $$", None, 1),
        ("sleep 60", None, 1),
        ("", [], 0),
    ],
)  # fmt: skip
def test_whatever_nvidia_smi_says(chain, monkeypatch, capfd, says, expected, warnings):
    monkeypatch.setattr(provenance, "TIMEOUT", 0.5 if "sleep" in says else 20)
    command_on_path(chain, monkeypatch, "nvidia-smi", says)
    sidecar = record_copy()
    assert sidecar["machine"]["gpus"] == expected
    about = [line for line in sidecar["warnings"] if "nvidia-smi" in line]
    assert len(about) == warnings
    assert capfd.readouterr().err.count("nvidia-smi") == warnings


@pytest.mark.parametrize(
    "says", ["echo 'fatal: detected dubious ownership' >&2; exit 128", "sleep 60", "echo", ""]
)
def test_whatever_git_says(chain, monkeypatch, says):
    monkeypatch.setattr(provenance, "TIMEOUT", 0.5 if "sleep" in says else 20)
    command_on_path(chain, monkeypatch, "git", says)
    sidecar = record_copy()
    assert sidecar["code"] == {"commit": None, "changed": None, "sha256": None}
    assert any(line.startswith("code: ") for line in sidecar["warnings"])


def test_damaged_packages_are_unknown_and_the_first_on_the_path_counts(tmp_path, monkeypatch):
    for name, text in {
        "none": None, "empty": b"", "nameless": b"Version: 1", "versionless": b"Name: versionless",
        "binary": b"\xc1\xff", "pytest": b"Name: pytest\nVersion: 0.1\n",
    }.items():  # fmt: skip
        (tmp_path / f"{name}-1.dist-info").mkdir()
        if text is not None:
            (tmp_path / f"{name}-1.dist-info/METADATA").write_bytes(text)
    monkeypatch.syspath_prepend(tmp_path)
    warnings = []
    found = packages(warnings.append)
    assert found["pytest"] == "0.1"
    unknown = {name for name, version in found.items() if version is None}
    assert {"none-1.dist-info", "empty-1.dist-info", "binary-1.dist-info"} <= unknown
    assert {"nameless-1.dist-info", "versionless-1.dist-info"} <= unknown
    assert len(warnings) == len(unknown)


def test_without_cpuinfo(chain, monkeypatch):
    def missing():
        raise FileNotFoundError("/proc/cpuinfo")

    monkeypatch.setattr(provenance, "cpu", missing)
    sidecar = record_copy()
    assert sidecar["machine"]["cpu"] is None and sidecar["machine"]["host"]
    assert "cpu: not found out: /proc/cpuinfo" in sidecar["warnings"]


def test_a_full_disk_at_the_sidecar_keeps_the_result(chain, monkeypatch, capfd):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("record.write_file", full)
    Path("results/.resume").touch()
    command = [sys.executable, "copy.py", "source.csv", "results/z.csv"]
    assert record(["source.csv"], ["results/z.csv"], [], command, ["results/.resume"]) == 0
    assert "not written ([Errno 28] No space left on device); the result is kept" in (
        capfd.readouterr().err
    )
    assert Path("results/z.csv").exists() and Path("results/.resume").exists()
    with pytest.raises(InputError, match="1 of 3 files"):
        verify_results(Path("results/provenance/jobs"), 1)
    assert "results/z.csv has no sidecar" in capfd.readouterr().out


def test_what_a_step_keeps_for_a_retry_goes_with_the_sidecar(chain):
    Path("results/.resume").touch()
    record_copy(then_remove=["results/.resume", "results/.never"])
    assert not Path("results/.resume").exists()


def test_inputs_that_change_or_vanish_are_noted(chain):
    Path("images").mkdir()
    Path("images/1.png").touch()
    Path("gone.csv").touch()
    Path("step.py").write_text(
        "import os, time; time.sleep(0.5); os.remove('gone.csv'); open('images/2.png', 'w')\n"
        "open('source.csv', 'a').write('2')"
    )
    inputs = ["source.csv", "images", "gone.csv", "never.csv"]
    Path("results/z.csv").touch()
    assert record(inputs, ["results/z.csv"], [], [sys.executable, "step.py"]) == 0
    sidecar = read_sidecar("results/provenance/jobs/z.csv.json")
    assert sidecar["inputs"]["never.csv"] is None
    assert [line.partition(" ")[0] for line in sidecar["warnings"] if "step" in line] == [
        "source.csv:", "images:", "gone.csv:"
    ]  # fmt: skip


def test_sigterm_after_the_step_keeps_its_result(chain, monkeypatch):
    command_on_path(chain, monkeypatch, "nvidia-smi", "sleep 60")
    step = [sys.executable, "copy.py", "source.csv", "results/z.csv"]
    Path("results/.resume").touch()
    words = ["--outputs", "results/z.csv", "--then-remove", "results/.resume", "--", *step]
    process = subprocess.Popen([sys.executable, RECORD, *words], stderr=subprocess.PIPE, text=True)
    while not Path("results/z.csv").exists():
        time.sleep(0.05)
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "told to stop, but the step has succeeded" in said
    assert Path("results/z.csv").exists() and Path("results/.resume").exists()
    assert read_sidecar("results/provenance/jobs/z.csv.json")["machine"]["gpus"] is None


def test_a_log_on_a_full_disk(chain):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full, which is always full, on this system")
    step = [sys.executable, "copy.py", "source.csv", "results/z.csv"]
    words = ["--inputs", "never.csv", "--outputs", "results/z.csv", "--", *step]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, RECORD, *words], stdout=full, stderr=full)
    assert done.returncode == 0


# Files among the sidecars that are none

STRAY = {
    "results/provenance/jobs/._a.csv.json": b"\0\5\x16\7\0\2\0\0Mac OS X",
    "results/provenance/jobs/empty.json": b"",
    "results/provenance/jobs/foreign.json": b'{"name": "x", "version": 1}',
    "results/provenance/jobs/list.json": b"[1, 2]",
    "results/provenance/jobs/deep.json": b"[" * 100_000,
}


def test_strays_are_named_and_the_rest_is_verified(chain, capsys):
    for path, content in STRAY.items():
        Path(path).write_bytes(content)
    Path("source.csv").write_text("2\n")
    with pytest.raises(InputError, match="1 of 3 files have changed or are missing, and 5 files"):
        verify_results(Path("results/provenance/jobs"), 1)
    out = capsys.readouterr().out
    assert all(f"{path}: " in out for path in STRAY)
    assert "source.csv is not what its sidecar says" in out
    trace_result(["results/b/c.csv"], -1)
    captured = capsys.readouterr()
    assert all(captured.err.count(f"{path}: ") == 1 for path in STRAY)
    assert "source.csv  sha256" in captured.out


def test_damaged_sidecars_end_in_no_traceback(chain, capsys):
    path = Path("results/provenance/jobs/b/c.csv.json")
    for content in mutations(path.read_bytes(), 200, seed=0):
        path.write_bytes(content)
        for check in (
            lambda: verify_results(Path("results/provenance/jobs"), 1),
            lambda: trace_result(["results/b/c.csv"], -1),
        ):
            try:
                check()
            except InputError:
                pass


# Which code ran


@pytest.fixture
def clone(tmp_path):
    """A repository of a workflow: its scripts, its rules."""
    top = tmp_path / "clone"
    for name in ("workflow_scripts/record.py", "rules/a.smk", "Snakefile", "README.md"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("1\n")
    commit(top)
    return top


def commit(folder):
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)


def test_commit_of_a_clone(clone):
    version = code_version(clone)
    assert len(version["commit"]) == 40 and version["changed"] is False
    (clone / "results").mkdir()
    (clone / "results/a.csv").touch()
    (clone / "README.md").write_text("2\n")
    assert code_version(clone) == version


@pytest.mark.parametrize("name", ["workflow_scripts/new.py", "rules/a.smk", "envs/new/a.txt"])
def test_changed_and_untracked_code_counts(clone, name):
    (clone / name).parent.mkdir(parents=True, exist_ok=True)
    (clone / name).write_text("2\n")
    assert code_version(clone)["changed"] is True


def test_no_commit_of_the_repository_around(clone, tmp_path):
    (clone / "other/workflow_scripts").mkdir(parents=True)
    (clone / "other/workflow_scripts/record.py").touch()
    with pytest.raises(InputError, match="in another repository"):
        code_version(clone / "other")
    commit(clone)  # even if that one tracks it
    with pytest.raises(InputError, match="in another repository"):
        code_version(clone / "other")
    (tmp_path / "top").mkdir()
    (tmp_path / "top/notes.txt").touch()
    commit(tmp_path / "top")
    (tmp_path / "top/workflow_scripts").mkdir()
    (tmp_path / "top/workflow_scripts/record.py").touch()
    with pytest.raises(InputError, match="in another repository"):
        code_version(tmp_path / "top")
    with pytest.raises(InputError, match="git fails with 128"):
        code_version(tmp_path)


def test_git_s_variables_name_no_other_repository(clone, tmp_path, monkeypatch):
    expected = code_version(clone)
    (tmp_path / "top").mkdir()
    (tmp_path / "top/notes.txt").touch()
    commit(tmp_path / "top")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "top/.git"))
    assert code_version(clone) == expected


def test_a_locked_index_is_no_obstacle(clone):
    (clone / ".git/index.lock").touch()
    assert code_version(clone)["changed"] is False
