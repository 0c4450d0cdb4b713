"""Outputs appear whole or not at all, and what killed processes leave goes at the next write."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cxr import files
from cxr.cli import InputError
from cxr.files import atomic_write, read_object, write_file

SCRIPTS = Path(__file__).parent.parent / "workflow_scripts"
WRITE = """
import sys, time
from cxr.files import atomic_write
with atomic_write(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _first_write():
    files.remove_leftovers.cache_clear()


def start_writing(path):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, path], cwd=SCRIPTS, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "writing\n"
    return process


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_block_that_fails_leaves_nothing(tmp_path):
    write_file(tmp_path / "a.csv", "old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        raise KeyError
    assert names(tmp_path) == ["a.csv"] and (tmp_path / "a.csv").read_text() == "old"


def test_what_killed_processes_left_goes_and_what_others_write_stays(tmp_path):
    others = [".a.csv.1a2b3c4d-notes", ".a.csv.partial", ".a.csv.lock", ".snakemake_timestamp"]
    for name in others:
        (tmp_path / name).touch()
    killed = [start_writing(tmp_path / name) for name in ("a.csv", ".resume")]
    running = start_writing(tmp_path / "a.csv")
    try:
        for process in killed:
            process.send_signal(signal.SIGKILL)
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays as a zombie
        assert len(names(tmp_path)) == len(others) + 3
        write_file(tmp_path / "b.csv", "1")
        left = set(names(tmp_path)) - {*others, "b.csv"}
        assert len(left) == 1 and f"-{running.pid}-" in left.pop()
    finally:
        for process in [*killed, running]:
            process.kill()
            process.wait()


def test_another_machine_s_file_goes_after_an_hour_of_silence(tmp_path):
    other = tmp_path / ".a.csv.00000000-1-1-abcdefgh.csv"
    other.touch()
    write_file(tmp_path / "a.csv", "1")
    assert other.exists()
    os.utime(other, (time.time() - 3700,) * 2)
    files.remove_leftovers.cache_clear()
    write_file(tmp_path / "a.csv", "1")
    assert names(tmp_path) == ["a.csv"]


def test_a_process_of_the_same_number_that_started_later_is_another(tmp_path):
    other = tmp_path / f".a.csv.{files._machine()}-{os.getpid()}-1-abcdefgh.csv"
    other.touch()
    write_file(tmp_path / "a.csv", "1")
    assert names(tmp_path) == ["a.csv"]


def test_long_names(tmp_path):
    name = "\u00e4" * 120
    write_file(tmp_path / name, "1")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null", b"[" * 99_999])
def test_what_is_no_object_is_named(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.json: "):
        read_object(tmp_path / "a.json")
