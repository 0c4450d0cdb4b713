"""Check the sources of a study before it runs, without downloading them.

Writes CSV: source, where, found, problem (empty where there is none). A URL has to answer with the
size that is expected; a local path has to be readable; Kaggle needs credentials. The last row says
whether a lock that a job holds (--lock, see check_machine) is seen here.
"""

import json
import time
from pathlib import Path

import pandas as pd
import requests
from cxr.cli import parser, progress, user_errors
from cxr.files import write_table
from filelock import FileLock, Timeout

TIMEOUT = 30  # seconds until a server has to answer
COLUMNS = ["source", "where", "found", "problem"]


def check_sources(sources, lock, wait, out):
    rows = [(name, *check(source)) for name, source in progress(sources.items(), "sources")]
    if lock:
        rows.append(("lock", lock, *check_lock(lock, wait)))
    write_table(out, pd.DataFrame(rows, columns=COLUMNS))


def check(source):
    """Where a source is, what was found there, and what is wrong with it."""
    if "local" in source:
        return source["local"], *check_local(Path(source["local"]), source.get("bytes"))
    if "url" in source:
        return source["url"], *check_url(source["url"], source.get("bytes"))
    return f"Kaggle, {source['kaggle']}", *check_kaggle()


def check_local(path, expected):
    try:
        if path.is_dir():
            return f"a folder with {sum(1 for _ in path.iterdir())} entries", ""
        with open(path, "rb") as file:
            file.read(1)
    except OSError as error:
        return "", error.strerror
    return size_problem(path.stat().st_size, expected)


def check_url(url, expected):
    """By the header of an answer of which nothing is read."""
    try:
        answer = requests.get(
            url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}
        )
    except requests.RequestException as error:
        return "", f"not reached: {type(error).__name__}"
    with answer:
        if answer.status_code != requests.codes.ok:
            return f"status {answer.status_code}", f"it answers {answer.reason}"
        length = answer.headers.get("Content-Length")
    return size_problem(int(length), expected) if length else ("no size given", "")


def size_problem(found, expected):
    problem = f"expected {expected:,} bytes" if expected not in (None, found) else ""
    return f"{found:,} bytes", problem


def check_kaggle():
    from kagglehub.config import get_kaggle_credentials  # slow, and only this needs it

    if get_kaggle_credentials():
        return "credentials", ""
    return "no credentials", "set KAGGLE_USERNAME and KAGGLE_KEY, or name a `local:` copy"


def check_lock(path, wait):
    """Whether this process is kept from a lock that a job on another machine holds."""
    until = time.monotonic() + wait
    while not Path(f"{path}.held").exists():
        if time.monotonic() > until:
            return "the job didn't start in time", "not known whether locks reach jobs"
        time.sleep(1)
    try:
        with FileLock(path, timeout=0):
            return "not seen", "flock doesn't reach jobs: two could train the same phase"
    except Timeout:
        return "seen", ""


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--sources", type=json.loads, required=True, help="JSON: {name: url, kaggle or local}"
    )
    arguments.add_argument("--lock", help="file that a job locks meanwhile")
    arguments.add_argument(
        "--wait", type=float, default=600, help="seconds for that job to start; default: 600"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        check_sources(**vars(arguments.parse_args()))
