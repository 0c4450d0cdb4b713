"""A training that is killed goes on where it was: its state on disk, for one process at a time."""

import hashlib
import signal
import sys
import time
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cxr.files import whole
from cxr.logs import InputError


class Stopped(InputError):
    """Training was told to stop (SIGTERM), and its state is saved."""


class ResumeFile:
    """State of an unfinished training at a path that Snakemake doesn't know.

    key: a hash of all that the training's result depends on; state of another key is never used.
    every: seconds between two saves. Use as a context: it holds a lock, so that no second process
    trains the same, and takes note of SIGTERM. Raises InputError where the lock is taken.
    """

    def __init__(self, path, key, every=300.0):
        self.path, self.key, self.every = Path(path), key, every
        self.told_to_stop = False
        self._saved_at = time.monotonic()

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self.path.with_name(f"{self.path.name}.lock")
        self._lock = FileLock(lock)
        try:
            self._lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(
                f"{lock}: another process, maybe on another machine, trains the same; "
                "wait for it, or stop it (squeue or ps show it)"
            ) from error
        self._handler = signal.signal(signal.SIGTERM, self._stop)
        return self

    def __exit__(self, *_):
        signal.signal(signal.SIGTERM, self._handler)
        self._lock.release()

    def _stop(self, *_):
        self.told_to_stop = True

    def load(self, device):
        """The saved state, on the device, or None."""
        if not self.path.exists():
            return None
        found = torch.load(self.path, map_location=device, weights_only=True)
        if found["key"] != self.key:
            print(f"{self.path}: of other settings, data or code; training starts anew", flush=True)
            return None
        return found["state"]

    def save(self, state):
        """Save state. Where the disk is full, the state saved before stays, with a warning."""
        self._saved_at = time.monotonic()
        try:
            with whole(self.path) as temporary:
                torch.save({"key": self.key, "state": state}, temporary)
        except (OSError, RuntimeError) as error:  # the second is PyTorch's, of a full disk
            print(f"warning: {self.path}: not saved: {error}", file=sys.stderr, flush=True)

    def is_due(self):
        """Whether to save now."""
        return self.told_to_stop or time.monotonic() - self._saved_at >= self.every

    def remove(self):
        """Remove the state of a training that has ended."""
        self.path.unlink(missing_ok=True)


def hash_of(*parts):
    """sha256, hexadecimal, of strings, arrays and the contents of paths, in order."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            with open(part, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
        else:
            content = hashlib.sha256(part.encode() if isinstance(part, str) else part).digest()
        digest.update(content)
    return digest.hexdigest()


def code_hash():
    """Hash of the modules of cxr that are loaded, and PyTorch's version."""
    modules = (module for name, module in sorted(sys.modules.items()) if name.startswith("cxr."))
    return hash_of(torch.__version__, *(Path(module.__file__) for module in modules))
