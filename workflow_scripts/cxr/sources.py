"""Fetch a source: a URL, a Kaggle data set or a local path, with its sums checked."""

import hashlib
import shutil
import sys
from pathlib import Path

import pooch

from cxr.files import whole
from cxr.logs import InputError


def file_sum(path, kind):
    """Hexadecimal sum of a file: md5, sha256, or git_blob (what `git hash-object` prints)."""
    if kind == "git_blob":
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def check_file(path, expected):
    """Raise InputError unless the file has the expected bytes, md5, sha256, ... (a mapping)."""
    for kind, value in expected.items():
        if kind == "bytes":
            found, matches = path.stat().st_size, path.stat().st_size == value
        elif kind == "sha256_prefix":
            found = file_sum(path, "sha256")
            matches = found.startswith(value)
        else:
            found = file_sum(path, kind)
            matches = found == value
        if not matches:
            raise InputError(
                f"{path}: {kind} is {found}, expected {value}; the file is another one or damaged"
            )


def fetch_url(url, path, expected):
    """Download url to path, which appears once the file is whole and its sums are right."""
    download = pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=60)
    with whole(path) as temporary:
        # requests' errors are OSErrors: a step reports them in one line
        download(url, str(temporary), None)
        with open(temporary, "rb") as file:
            start = file.read(256).lstrip().lower()
        if start.startswith((b"<!doctype html", b"<html")):
            raise InputError(f"{url}: an HTML page came instead of {path.name}; fetch it by hand")
        check_file(temporary, expected)


def link_local(source, path):
    """Make path a symbolic link to a local file or folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(source.resolve())


def fetch_kaggle(handle):
    """Folder of a Kaggle data set, downloaded by kagglehub into its cache."""
    import kagglehub  # slow to import, and only this route needs it

    return Path(kagglehub.dataset_download(handle))


def unpack_zip(archive, folder):
    """Unpack a zip file into a new folder."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.unpack_archive(archive, folder, "zip")
    return folder
