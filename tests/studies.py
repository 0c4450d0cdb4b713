"""Studies that tests run as a user would, from a copy of the workflow."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent


def snakemake(folder, *arguments, config="tests/config.yaml"):
    """Run snakemake as from a user's shell; returns the finished process."""
    command = [sys.executable, "-m", "snakemake", *arguments]
    if config:
        command += ["--configfile", str(config)]
    return subprocess.run(
        command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def planned(folder, *arguments, **options):
    """Jobs of a dry run: {rule: number}."""
    run = snakemake(folder, "--dry-run", *arguments, **options)
    assert run.returncode == 0, run.stdout
    stats = re.findall(r"^(\w+) +(\d+)$", run.stdout.partition("Job stats:")[2], re.MULTILINE)
    return {rule: int(number) for rule, number in stats if rule != "total"}


def overlay(folder, tmp_path, change):
    """A copy of tests/config.yaml with a change, as a path."""
    settings = yaml.safe_load((folder / "tests/config.yaml").read_text())
    change(settings)
    path = tmp_path / "overlay.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def copy_workflow(folder):
    """What a clone would hold, with the environments that are already made."""
    ignore = shutil.ignore_patterns(
        ".*venv*", ".git", ".snakemake", "results", "demo", "__pycache__"
    )
    shutil.copytree(ROOT, folder, ignore=ignore)
    (folder / ".venvs").symlink_to(ROOT / ".venvs")
    return folder


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))
