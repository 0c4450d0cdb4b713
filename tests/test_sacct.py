"""slurm/bin/sacct finds SLURM's own, by whatever paths it is itself found; without a SLURM."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BIN = Path(__file__).parent.parent / "slurm" / "bin"
REAL = """#!/bin/sh
echo "$*|CANCELLED by 1000"
echo "2|COMPLETED"
exit 3
"""


@pytest.fixture
def folder(tmp_path):
    """SLURM's sacct in slurm, links to the wrapper and a copy of it in others."""
    for name in ("slurm", "links", "a b"):
        (tmp_path / name).mkdir()
    (tmp_path / "slurm/sacct").write_text(REAL)
    (tmp_path / "slurm/sacct").chmod(0o755)
    (tmp_path / "links/sacct").symlink_to(BIN / "sacct")
    (tmp_path / "linked").symlink_to(BIN)
    shutil.copytree(BIN, tmp_path / "a b/bin")
    return tmp_path


def ask(folder, *places):
    path = os.pathsep.join([*map(str, places), "/usr/bin", "/bin"])
    return subprocess.run(
        ["sacct", "-X"], cwd=folder / "links", env={"PATH": path},
        capture_output=True, text=True, timeout=20,
    )  # fmt: skip


@pytest.mark.parametrize(
    "places",
    [
        ["{bin}"],
        ["{bin}/../bin", "{bin}", "{bin}/"],
        ["links", "linked", "{bin}/../../slurm/bin", "a b/bin", "a b/../a b/bin"],
        ["a b/bin", "{bin}", "a b/bin"],
        ["../linked", "{bin}"],
        ["", "{bin}"],
    ],
)
def test_it_finds_slurm_s_own(folder, places):
    absolute = [
        place if place in ("", "../linked") else folder / place.format(bin=BIN) for place in places
    ]
    done = ask(folder, *absolute, folder / "slurm")
    assert done.stdout.splitlines() == ["-X|CANCELLED", "2|COMPLETED"], done.stderr
    assert done.returncode == 3


def test_it_says_that_there_is_none(folder):
    if shutil.which("sacct", path="/usr/bin:/bin"):
        pytest.skip("SLURM's own sacct is in /usr/bin")
    done = ask(folder, folder / "linked", BIN, folder / "a b/bin", folder / "links")
    assert done.returncode == 127
    assert done.stderr.endswith("SLURM's own sacct is not on PATH\n")
    assert done.stderr.count("\n") == 1
