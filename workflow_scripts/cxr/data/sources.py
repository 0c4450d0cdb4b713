"""Where data come from other than by URL: local paths, Kaggle, zip files; and their sums."""

import shutil
import zipfile
import zlib
from pathlib import Path

import requests

from cxr.checksums import file_sum
from cxr.cli import InputError


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
                f"{path}: {kind} is {found}, expected {value}; it is another file, or damaged"
            )


def link_local(source, path):
    """Make path a symbolic link to a local file. Raises InputError where a file is in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_symlink():
        raise InputError(f"{path}: there is a file already, expected none; remove it")
    path.unlink(missing_ok=True)
    path.symlink_to(source.resolve())


def fetch_kaggle(handle):
    """Folder of a Kaggle data set, downloaded by kagglehub into its cache, resuming.

    Raises InputError with what to do where Kaggle refuses, has no such version or isn't reached.
    """
    import kagglehub  # slow to import, and only this route needs it
    from kagglehub import exceptions

    by_hand = "or download it by hand and name the folder or zip file as the source's `local:`"
    try:
        return Path(kagglehub.dataset_download(handle))
    except requests.HTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            advice = (
                "Kaggle asks for credentials: set KAGGLE_USERNAME and KAGGLE_KEY, or put "
                "kaggle.json into ~/.kaggle (kaggle.com, Settings, API)"
            )
        elif status == 404:
            advice = "Kaggle no longer has this version"
        else:
            advice = f"Kaggle answers {' '.join(str(error).split())[:200]}: try later"
        raise InputError(f"{handle}: {advice}; {by_hand}") from error
    except (exceptions.CredentialError, exceptions.UnauthenticatedError) as error:
        raise InputError(f"{handle}: Kaggle credentials: {error}; {by_hand}") from error
    except (exceptions.DataCorruptionError, exceptions.BackendError) as error:
        raise InputError(f"{handle}: {error}: try again; {by_hand}") from error
    except requests.RequestException as error:
        raise InputError(
            f"{handle}: Kaggle can't be reached; is this machine online? {by_hand}"
        ) from error


def unpack_zip(archive, folder):
    """Unpack a zip file into a folder, which is there whole or not at all."""
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as members:
            members.extractall(unfinished)  # it leaves out what would lead outside
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted
        raise InputError(f"{archive}: not a whole zip file ({error}); download it again") from error
    unfinished.replace(folder)
    return folder
