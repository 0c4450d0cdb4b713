"""Checksums of files and folders."""

import hashlib
import json
import time
from contextlib import suppress
from pathlib import Path

from cxr.files import write_file

LARGE = 1 << 26  # bytes; what is smaller is hashed within a tenth of a second
TICK = 2.0  # seconds, the coarsest clock of a file system
TIMESTAMP = ".snakemake_timestamp"  # Snakemake's, in each folder that a job wrote


def file_sum(path, kind):
    """Hexadecimal sum of a file: md5, sha256, or git_blob (what `git hash-object` prints)."""
    if kind == "git_blob":
        digest = hashlib.sha1(b"blob %d\0" % Path(path).stat().st_size)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def git_tree(folder):
    """What `git rev-parse COMMIT^{tree}` prints for the commit whose files a folder holds.

    Of plain files, none of them executable: the id of each file's content, hashed by folder.
    """
    entries = []
    for path in folder.iterdir():
        kind, digest = ("40000", git_tree(path)) if path.is_dir() else ("100644", None)
        digest = digest or file_sum(path, "git_blob")
        key = path.name.encode() + b"/" * path.is_dir()  # git's order
        entries.append((key, f"{kind} {path.name}\0".encode() + bytes.fromhex(digest)))
    content = b"".join(entry for _, entry in sorted(entries))
    return hashlib.sha1(b"tree %d\0" % len(content) + content).hexdigest()


def files_of(path):
    """All files of a folder, in order, but for Snakemake's; of a file, itself."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.is_file() and file.name != TIMESTAMP)


def sha256_of(path):
    """sha256 of a file, or, of a folder, of the names and sha256 of all that is in it."""
    path = Path(path)
    if not path.is_dir():
        return file_sum(path, "sha256")
    lines = (f"{sha256_of(file)} {file.relative_to(path).as_posix()}\n" for file in files_of(path))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def known_sha256_of(path):
    """sha256 of a file or folder, of a large file of results/ from what was noted of it before.

    The note, .NAME.sum beside the file, holds the sum, and the file's inode, size and time of
    change. It counts while these are the same, and is made of files older than a clock's tick.
    """
    path = Path(path).absolute()
    before, ours = path.stat(), path.is_relative_to(Path("results").absolute())
    if path.is_dir() or before.st_size < LARGE or not ours:
        return sha256_of(path)
    note = path.with_name(f".{path.name}.sum")
    state = [before.st_ino, before.st_size, before.st_mtime_ns]
    with suppress(OSError, ValueError):
        noted, digest = json.loads(note.read_text())
        if noted == state:
            return digest
    digest, after = sha256_of(path), path.stat()
    is_settled = time.time() - after.st_mtime > TICK
    if is_settled and state == [after.st_ino, after.st_size, after.st_mtime_ns]:
        with suppress(OSError):  # the folder of somebody else
            write_file(note, json.dumps([state, digest]))
    return digest
