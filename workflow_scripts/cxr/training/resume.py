"""A killed training resumes: its state on disk, for one process at a time."""

import hashlib
import io
import signal
import sys
import time
import zipfile
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from cxr.checksums import known_sha256_of
from cxr.cli import InputError
from cxr.files import atomic_write


class Stopped(InputError):
    """Training was told to stop (SIGTERM), and its state is saved."""


class ResumeFile:
    """State of a training, then its result, at a path that Snakemake doesn't know.

    The result stays there until it is safe elsewhere: whoever starts the training removes the file.
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
        """The state that was saved, on the device, or None, with a line if it can't be used."""
        found, problem = self._read(device)
        if problem:
            print(f"{self.path}: {problem}; training starts from the beginning", flush=True)
        return found.get("state")

    def result(self):
        """The result that was saved, on the host, or None."""
        found, _ = self._read("cpu")
        return found.get("result")

    def save(self, state):
        """Save state. Where the disk is full, the state saved before stays, with a warning."""
        self._saved_at = time.monotonic()
        self._write({"key": self.key, "state": state})

    def save_result(self, result):
        """Save what a training that has ended returned, in place of its state."""
        self._write({"key": self.key, "result": result})

    def _write(self, content):
        try:
            with atomic_write(self.path) as temporary:
                torch.save(content, temporary)
        except (OSError, RuntimeError) as error:  # the second is PyTorch's, of a full disk
            print(f"warning: {self.path}: not saved: {error}", file=sys.stderr, flush=True)

    def _read(self, device):
        """(what was saved, None), or ({}, why it can't be used)."""
        if not self.path.exists():
            return {}, None
        content = io.BytesIO(self.path.read_bytes())
        # PyTorch checks no sum. What it and zipfile raise of damaged bytes is of any kind, and
        # none of it may end a training that can start from the beginning.
        try:
            with zipfile.ZipFile(content) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"bad CRC-32 of {damaged}")
            content.seek(0)
            found = torch.load(content, map_location=device, weights_only=True)
            key = found["key"]
        except Exception as error:
            reason = str(error).partition("\n")[0] or type(error).__name__
            return {}, f"damaged, or not of a training ({reason[:200]})"
        if key != self.key:
            return {}, "of other settings, data or code"
        return found, None

    def is_due(self):
        """Whether to save now."""
        return self.told_to_stop or time.monotonic() - self._saved_at >= self.every


def hash_of(*parts):
    """sha256, hexadecimal, of strings, arrays and the contents of paths, in order.

    A file is read once, however often its path is among the parts.
    """
    paths = {part for part in parts if isinstance(part, Path)}
    files = {path: bytes.fromhex(known_sha256_of(path)) for path in paths}
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            content = files[part]
        else:
            content = hashlib.sha256(part.encode() if isinstance(part, str) else part).digest()
        digest.update(content)
    return digest.hexdigest()


def code_hash():
    """Hash of the modules of cxr that are loaded, and PyTorch's version."""
    modules = (module for name, module in sorted(sys.modules.items()) if name.startswith("cxr."))
    return hash_of(torch.__version__, *(Path(module.__file__) for module in modules))
