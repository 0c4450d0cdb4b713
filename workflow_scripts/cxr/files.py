"""Outputs that appear whole or not at all."""

import hashlib
import json
import os
import platform
import re
import tempfile
import time
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from cxr.cli import InputError

# What atomic_write() adds to a name: machine, process, when that started, and chance.
TEMPORARY = re.compile(r"\..+\.([0-9a-f]{8})-(\d+)-(\d+)-[a-z0-9_]{8}(\.[^.]*)?")
SILENCE = 3600  # seconds without a write, after which another machine's process counts as dead


@contextmanager
def atomic_write(path):
    """A path to write to that becomes `path` when the block ends well, and vanishes otherwise.

    Where the process is killed, the next one that writes into the folder removes it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent.resolve())
    owner = f"{_machine()}-{os.getpid()}-{_started(os.getpid())}"
    handle, name = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name[:40]}.{owner}-", suffix=path.suffix
    )
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_file(path, content):
    """Write bytes or text to path; path is old or new, never half."""
    with atomic_write(path) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            temporary.write_text(content)


def write_table(path, table):
    """Write a pandas table as CSV, without its index; floats keep their precision."""
    write_file(path, table.to_csv(index=False))


def read_object(path):
    """The JSON object that a file holds, as a dict. Raises InputError if it holds anything else."""
    try:
        found = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:  # no UTF-8, no JSON, thousands of brackets
        reason = "empty" if not Path(path).stat().st_size else f"no JSON ({error})"
        raise InputError(f"{path}: {reason}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: a JSON {type(found).__name__}, expected an object")
    return found


@cache  # a look at each folder per process: some take thousands of files
def remove_leftovers(folder):
    """Remove what killed processes left in a folder, and never what one that runs is writing.

    Whether a process of this machine runs, its system says. One of another machine, which shares
    the folder, counts as dead when its file hasn't changed for SILENCE.
    """
    with suppress(OSError), os.scandir(folder) as entries:  # it can wait, the output can't
        for entry in entries:
            match = TEMPORARY.fullmatch(entry.name)
            if match and not _is_written(entry, *match.groups()[:3]):
                os.unlink(entry.path)


def _is_written(entry, machine, process, started):
    if machine != _machine():
        return time.time() - entry.stat().st_mtime < SILENCE
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return _started(process) in (int(started), 0)


def _started(process):
    """When a process started, in ticks since boot; -1: a zombie; 0: the system doesn't say."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return -1 if state in "ZX" else int(rest[18])


@cache
def _machine():
    """Eight digits that differ between machines, their boots, and containers on them."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        known = f"{boot}{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        known = platform.node()
    return hashlib.sha256(known.encode()).hexdigest()[:8]


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask
