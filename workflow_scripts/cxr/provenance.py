"""Sidecars: what each job was made from, by what and where, in results/provenance/jobs.

A sidecar is named for its job's first output: results/netC/metrics.csv has
results/provenance/jobs/netC/metrics.csv.json. It holds command, code (commit, and whether files
differed from it), inputs and outputs with their sha256, which of these are temporary, packages,
machine, slurm_job_id, threads, started, seconds, cpu_seconds, peak_memory_mb and warnings. What
couldn't be found out is null, and a warning says why.
"""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from cxr.checksums import files_of
from cxr.cli import InputError
from cxr.files import read_object

FOLDER = Path("results/provenance/jobs")
# What decides results, below the workflow's folder.
CODE = ("Snakefile", "config.yaml", "config", "envs", "rules", "workflow_scripts")
TIMEOUT = 20  # seconds for git or nvidia-smi to answer
# What readers of sidecars rely on: the types of values, None where a value may be null.
SHAPE = {
    "command": (list,),
    "code": (dict,),
    "inputs": (dict,),
    "outputs": (dict,),
    "temporary": (list,),
    "started": (str,),
    "seconds": (int, float),
    "machine": (dict,),
}


def sidecar_of(output):
    """Path of the sidecar of a job whose first output this is."""
    path = Path(output)
    inside = path.relative_to("results") if path.is_relative_to("results") else path
    return FOLDER / f"{inside}.json"


def read_sidecars(folder=FOLDER):
    """(the sidecars of all jobs, [why a file there is none]). InputError if there is no sidecar."""
    found, problems = [], []
    for path in sorted(Path(folder).rglob("*.json")):
        try:
            found.append(read_sidecar(path))
        except (InputError, OSError) as error:
            problems.append(f"{error}: no sidecar; remove it, or make its result again")
    if not found:
        raise InputError(
            "; ".join([f"{folder}: no sidecar; start in the folder that holds results/", *problems])
        )
    return found, problems


def read_sidecar(path):
    """A sidecar. Raises InputError if the file is cut, damaged or something else."""
    return checked_sidecar(read_object(path), path)


def checked_sidecar(found, path):
    """A JSON object if it is a sidecar, else InputError."""
    for key, kinds in SHAPE.items():
        if not isinstance(found.get(key), kinds):
            raise InputError(f"{path}: {key} is {found.get(key)!r:.60}")
    words = [*found["command"], *found["temporary"], *found["inputs"], *found["outputs"]]
    sums = [*found["inputs"].values(), *found["outputs"].values()]
    gpus = found["machine"].get("gpus") or []
    if (
        not all(isinstance(word, str) for word in words)
        or not all(isinstance(digest, str | None) for digest in sums)
        or not isinstance(gpus, list)
        or not all(isinstance(gpu, dict) for gpu in gpus)
        or not isinstance(found.get("warnings", []), list)
        or not isinstance(found.get("packages"), dict | None)
        or not 0 <= found["seconds"] < 1e9
        or not found["outputs"]
        or step_of(found) is None
    ):
        raise InputError(f"{path}: not as record.py writes it")
    try:
        datetime.fromisoformat(found["started"])
    except ValueError as error:
        raise InputError(f"{path}: started is {found['started']!r:.60}") from error
    return found


def step_of(sidecar):
    """The script of a sidecar's job."""
    return next((word for word in sidecar["command"] if word.endswith(".py")), None)


def state_of(path):
    """What differs when a file, or one in a folder, is changed: names, inodes, sizes and dates."""
    stats = ((str(file), file.stat()) for file in files_of(path))
    return [(name, stat.st_ino, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def said_by(*command):
    """What a command prints. Raises InputError with its last words where it fails or hangs."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith("GIT_CONFIG")
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=TIMEOUT,
            env=kept | {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0"},
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(f"{command[0]} says nothing for {TIMEOUT} s") from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise InputError(
            f"{command[0]} fails with {done.returncode}: {said[0][:200] if said else 'no word'}"
        )
    return done.stdout


def code_version(folder):
    """Commit of the workflow in a folder, and whether its code differs from it.

    Raises InputError unless the folder is the top of a repository that tracks its scripts: a
    workflow that is unpacked inside another repository isn't of that one's commit.
    """
    git = ("git", "-c", "core.fsmonitor=false", "-C", str(folder))
    to_top, _, commit = said_by(*git, "rev-parse", "--show-cdup", "HEAD").partition("\n")
    commit = commit.strip()
    tracked = said_by(*git, "ls-files", "--", "workflow_scripts/record.py")
    if not re.fullmatch("[0-9a-f]{40,64}", commit):
        raise InputError(f"git names no commit, but {commit!r:.60}")
    if to_top or not tracked:
        raise InputError(f"{folder}: in another repository, not the workflow's own")
    changed = said_by(*git, "status", "--porcelain", "--untracked-files=normal", "--", *CODE)
    return {"commit": commit, "changed": bool(changed)}


def cpu():
    """Name of the processor, or its architecture where Linux doesn't say more (ARM)."""
    said = Path("/proc/cpuinfo").read_text(errors="replace")
    return said.partition("model name\t: ")[2].partition("\n")[0] or platform.machine()


def memory_mb():
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20


def gpus(warn):
    """Name, driver and identity of each GPU that nvidia-smi shows; none without it.

    warn is told of lines beside them. Raises InputError where nvidia-smi fails, or names none.
    """
    if not shutil.which("nvidia-smi"):
        return []
    query = ("--query-gpu=name,driver_version,uuid", "--format=csv,noheader")
    found, others = [], []
    for line in said_by("nvidia-smi", *query).splitlines():
        # nvidia-smi quotes nothing: a comma may be in the name, never in driver or identity.
        row = re.fullmatch(r"\s*(.+), ([^,]+), (GPU-[^,\s]+)\s*", line)
        if row:
            found.append(dict(zip(("name", "driver", "uuid"), row.groups(), strict=True)))
        elif line.strip():
            others.append(f"nvidia-smi says {line.strip()!r:.200}")
    if others and not found:
        raise InputError(others[0])
    for line in others:
        warn(line)
    return found


def packages(warn):
    """{name: version} of all that this Python imports, the first on its path where one is twice.

    warn is told of packages whose metadata say no name or version, which get the version None.
    """
    found = {}
    for part in importlib.metadata.distributions():
        folder = getattr(part, "_path", part)
        try:
            name = part.metadata["Name"] or Path(str(folder)).name
            version = importlib.metadata.version(name)
            if version is None:
                raise ValueError("no version")
        except Exception as error:  # damaged metadata, of which Python raises many kinds
            name, version = Path(str(folder)).name, None
            warn(f"package {folder}: {type(error).__name__}: {error}")
        found.setdefault(name, version)
    return {"python": platform.python_version(), **dict(sorted(found.items()))}


def now():
    """The time, to the second, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
