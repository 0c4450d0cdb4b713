"""Rules as a reader relies on them: a command names every file that it reads or writes."""

import shlex

import pytest

pytest.importorskip("snakemake")
from studies import ROOT, snakemake


def is_gate(path):
    """Whether a file only decides that a job runs: checksums of large files, and loaded nets' AUROC."""
    return path.endswith((".sha256", "/auroc.csv")) or path == "results/downloads/covid19.csv"


def test_commands_name_every_file():
    run = snakemake(ROOT, "--dry-run", "--printshellcmds", "--forceall", "all")
    shell = [line.partition("Shell command: ")[2] for line in run.stdout.splitlines()]
    commands = [shlex.split(line) for line in shell if line]
    recorded = [command for command in commands if "--code" in command]
    assert len(recorded) > 130
    missing = set()
    for command in recorded:
        start = command.index("--code") + 3
        declared, run = command[:start], command[start + 1 :]
        script = next(word for word in run if word.endswith(".py"))
        named = {word.partition("=")[2] if "=" in word else word for word in run}
        files = declared[declared.index("--inputs") + 1 : -2]
        files = [path for path in files if not path.startswith("--")]
        missing |= {(script, path) for path in files if path not in named and not is_gate(path)}
    assert not missing, "\n".join(f"{script}: {path}" for script, path in sorted(missing))
