"""Sidecars: what each job was made from, by what and where, in results/provenance/jobs.

A sidecar is named for its job's first output: results/netC/metrics.csv has
results/provenance/jobs/netC/metrics.csv.json. It holds command, code (commit, and whether files
differed from it), inputs and outputs with their sha256, which of these are temporary, packages,
machine, slurm_job_id, started, seconds and peak_memory_mb.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from cxr.logs import InputError

FOLDER = Path("results/provenance/jobs")
TIMESTAMP = ".snakemake_timestamp"  # which Snakemake puts into folders


def sidecar_of(output):
    """Path of the sidecar of a job whose first output this is."""
    path = Path(output)
    inside = path.relative_to("results") if path.is_relative_to("results") else path
    return FOLDER / f"{inside}.json"


def read_sidecars(folder=FOLDER):
    """The sidecars of all jobs. InputError if there is none."""
    found = [json.loads(path.read_text()) for path in sorted(Path(folder).rglob("*.json"))]
    if not found:
        raise InputError(f"{folder}: no sidecar; start in the folder that holds results/")
    return found


def step_of(sidecar):
    """The script of a sidecar's job."""
    return next(word for word in sidecar["command"] if word.endswith(".py"))


def sha256_of(path):
    """sha256 of a file, or, of a folder, of the names and sha256 of all that is in it."""
    path = Path(path)
    if path.is_dir():
        inside = sorted(
            file for file in path.rglob("*") if file.is_file() and file.name != TIMESTAMP
        )
        lines = (f"{sha256_of(file)} {file.relative_to(path).as_posix()}\n" for file in inside)
        return hashlib.sha256("".join(lines).encode()).hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def code_version(folder):
    """Commit of the repository that a folder is in, and whether files differ from it."""
    git = ["git", "-C", str(folder)]
    try:
        commit, changed = (
            subprocess.run([*git, *words], capture_output=True, text=True, check=True).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return {"commit": None, "changed": None}
    return {"commit": commit.strip(), "changed": bool(changed.strip())}


def machine():
    """Host, processor, memory, operating system, GPUs and their driver."""
    cpu = Path("/proc/cpuinfo").read_text().partition("model name\t: ")[2].partition("\n")[0]
    return {
        "host": platform.node(),
        "system": platform.platform(),
        "cpu": cpu or platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20,
        "gpus": gpus(),
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


def gpus():
    """Name, driver and identity of each GPU that nvidia-smi shows; none without it."""
    if not shutil.which("nvidia-smi"):
        return []
    query = ["nvidia-smi", "--query-gpu=name,driver_version,uuid", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    rows = [line.split(", ") for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [dict(zip(("name", "driver", "uuid"), row, strict=True)) for row in rows]


@cache
def packages():
    """{name: version} of all that is installed beside this Python."""
    found = {part.metadata["Name"]: part.version for part in distributions()}
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


def now():
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
