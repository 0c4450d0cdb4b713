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


def gpu_rules():
    """Rules of the workflow that ask for a GPU, or are made from one that does."""
    texts, made_from = {}, {}
    start = re.compile(r"^ *(?:use rule (\w+) as|rule) (\w+)(?: with)?:$", re.MULTILINE)
    for path in (ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")):
        parts = start.split(path.read_text())
        for used, name, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
            texts[name], made_from[name] = text, used

    def asks(name):
        return name in texts and ("gpu=1" in texts[name] or asks(made_from[name]))

    return {name for name in texts if asks(name)}


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
