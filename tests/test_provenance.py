"""Sidecars of jobs: what they hold, and what verify and trace make of them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cxr.logs import InputError
from cxr.provenance import read_sidecars, sha256_of, sidecar_of
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
    assert record["peak_memory_mb"] > 1 and record["seconds"] > 0


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
    assert "3 files of 2 jobs are what their sidecars say" in capsys.readouterr().out


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
    with pytest.raises(InputError, match="1 of 3 files are not what they were"):
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
    with pytest.raises(InputError, match="no job in"):
        trace_result(["results/z.csv"], -1)


def test_folder_without_sidecars(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no sidecar; start in the folder that holds results"):
        read_sidecars()
