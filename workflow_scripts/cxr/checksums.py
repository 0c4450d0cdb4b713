"""Checksums of files and folders."""

import hashlib
from pathlib import Path

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
