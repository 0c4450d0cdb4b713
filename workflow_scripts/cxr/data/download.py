"""Download a URL to a file, over any number of broken connections and killed processes."""

import json
import random
import shutil
import sys
import time
from contextlib import contextmanager

import requests
from filelock import FileLock, Timeout
from tqdm import tqdm

from cxr.cli import InputError
from cxr.data.sources import check_file
from cxr.files import read_object, write_file

ATTEMPTS = 8  # in a row that bring no byte
TIMEOUT = 60  # seconds without a byte
LONGEST_WAIT = 120  # seconds between two attempts, unless the server asks for more
CHUNK = 1 << 16  # bytes: what a broken connection loses at most
BY_HAND = "open it in a browser, save the file, and name it as the source's `local:`"


class Interrupted(Exception):
    """What may go well another time; retry_after: seconds that the server asks to wait."""

    def __init__(self, problem, retry_after=0.0):
        super().__init__(problem)
        self.retry_after = retry_after


def fetch_url(url, path, expected, first_wait=1.0):
    """Download url to path, which appears once the file is whole and its sums are right.

    What has come is kept beside it, and resumed after a broken connection or a killed process.
    expected: bytes and sums, as check_file takes them. first_wait: seconds before the second
    attempt; they double with each attempt that brings nothing, and vary by chance.
    Raises InputError where another attempt wouldn't help, or ATTEMPTS bring nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = Partial(path.with_name(f".{path.name}.partial"))
    with partial.locked():
        partial.discard_if_damaged(expected)
        resumed = partial.size() > 0
        fetch_rest(url, partial, expected, first_wait)
        try:
            check_file(partial.path, expected)
        except InputError:
            partial.remove()
            if not resumed:
                raise
            print(f"{url}: a wrong sum after resuming; once more from the start", flush=True)
            fetch_rest(url, partial, expected, first_wait)
            check_file(partial.path, expected)
        partial.path.replace(path)
        partial.remove()


def fetch_rest(url, partial, expected, first_wait):
    """Attempt to fetch what is missing until all is there."""
    fruitless = 0
    while True:
        had = partial.size()
        try:
            return transfer(url, partial, expected)
        except Interrupted as error:
            fruitless = 0 if partial.size() > had else fruitless + 1
            if fruitless == ATTEMPTS:
                raise InputError(
                    f"{url}: {error}, {ATTEMPTS} times in a row; the {partial.size():,} bytes that "
                    f"came are kept: try later, or {BY_HAND}"
                ) from error
            wait = min(LONGEST_WAIT, first_wait * 2**fruitless) * random.uniform(0.5, 1)
            wait = max(wait, error.retry_after)
            print(f"{url}: {error}; again in {wait:.1f} s", flush=True)
            time.sleep(wait)


def transfer(url, partial, expected):
    """One attempt: ask for the bytes that are missing, and append what comes.

    Raises Interrupted where the next attempt may go on, InputError where it won't.
    """
    have = partial.size()
    validator = partial.validator(url)
    if have and (validator or (partial.is_of(url) and expected)):
        headers = {"Range": f"bytes={have}-"} | ({"If-Range": validator} if validator else {})
    else:
        have, headers = 0, {}
    try:
        with requests.get(
            url,
            headers=headers | {"Accept-Encoding": "identity"},
            stream=True,
            timeout=TIMEOUT,
        ) as response:
            have = check_answer(response, url, have, partial)
            total = check_size(response, url, have, expected)
            check_space(partial, (total or expected.get("bytes", 0)) - have)
            if not have:
                partial.start(url, response.headers)
            append(response, url, partial, have, total)
    except (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.ChunkedEncodingError,
    ) as error:
        raise Interrupted(f"the connection broke ({type(error).__name__})") from error
    except requests.RequestException as error:
        raise InputError(f"{url}: {error}") from error
    if total is not None and partial.size() < total:
        raise Interrupted(f"{partial.size():,} of {total:,} bytes came")


def check_answer(response, url, have, partial):
    """Bytes of the partial file that the answer goes on from: have, or 0 if all comes again."""
    status = response.status_code
    if status in (408, 429) or status >= 500:
        after = response.headers.get("Retry-After", "")
        raise Interrupted(
            f"HTTP {status} {response.reason}", float(after) if after.isdigit() else 0.0
        )
    if status == 416 or (
        status == 206 and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
    ):
        partial.remove()
        raise Interrupted("the server can't go on from where the file was cut")
    if status >= 400:
        raise InputError(f"{url}: HTTP {status} {response.reason}; {BY_HAND}")
    if "html" in response.headers.get("Content-Type", ""):
        raise html_error(url)
    return have if status == 206 else 0


def check_size(response, url, have, expected):
    """Bytes of the whole file by the answer's headers, or None. InputError if not as expected."""
    length = response.headers.get("Content-Length")
    total = have + int(length) if length is not None else None
    if total is not None and total != expected.get("bytes", total):
        raise InputError(
            f"{url}: the server has {total:,} bytes, expected {expected['bytes']:,}: another file"
        )
    return total


def check_space(partial, missing):
    """Raise InputError if the disk has no room for the missing bytes."""
    free = shutil.disk_usage(partial.path.parent).free
    if missing > free:
        raise InputError(
            f"{partial.path.parent}: {free:,} bytes free, {missing:,} needed; make room and start "
            "again"
        )


def append(response, url, partial, have, total):
    """Write what comes behind the bytes that are there, and show how far it is."""
    with open(partial.path, "ab") as file, progress_of(url, have, total) as show:
        for chunk in response.iter_content(CHUNK):
            if not file.tell() and is_html(chunk):
                raise html_error(url)
            try:
                file.write(chunk)
                file.flush()
            except OSError as error:
                raise InputError(f"{partial.path}: {error.strerror}; what came is kept") from error
            show(len(chunk))


@contextmanager
def progress_of(url, have, total):
    """A function that is told of bytes: a bar on a terminal, a line each tenth in a log."""
    name = url.rsplit("/", 1)[-1][-40:]
    if sys.stderr.isatty():
        with tqdm(desc=name, initial=have, total=total, unit="B", unit_scale=True) as bar:
            yield bar.update
        return
    tenth, done = (total or 0) // 10, have

    def tell(number):
        nonlocal done
        before, done = done, done + number
        if tenth and done // tenth > before // tenth:
            print(f"{name}: {done / total:.0%} of {total:,} bytes", flush=True)

    yield tell


def is_html(content):
    return content[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def is_header(value):
    """Whether a value can be sent as a header's."""
    return isinstance(value, str) and value.isascii() and value.isprintable() and value != ""


def html_error(url):
    return InputError(f"{url}: an HTML page came instead of the file; {BY_HAND}")


class Partial:
    """The bytes of a file that have come, and which file they are of."""

    def __init__(self, path):
        self.path, self._source = path, path.with_name(f"{path.name}.json")

    @contextmanager
    def locked(self):
        """Let no second process write to it. InputError where one does."""
        lock = FileLock(self.path.with_name(f"{self.path.name}.lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout as error:
            raise InputError(f"{lock.lock_file}: another process fetches this file") from error
        try:
            yield
        finally:
            lock.release()

    def size(self):
        """Bytes that have come."""
        return self.path.stat().st_size if self.path.exists() else 0

    def discard_if_damaged(self, expected):
        """Start from the beginning, with a line, if what a killed process left can't be used."""
        if not self.size():
            return
        try:
            self._read_source()
            if self.size() > expected.get("bytes", self.size()):
                raise InputError(f"{self.path}: longer than the {expected['bytes']:,} bytes")
        except (InputError, FileNotFoundError) as error:
            print(f"{error}; the download starts from the beginning", flush=True)
            self.remove()

    def is_of(self, url):
        """Whether the bytes came from this URL."""
        return self.size() > 0 and self._read_source()["url"] == url

    def validator(self, url):
        """ETag or date of the file that the bytes are of; None if unknown or of another URL."""
        return self._read_source()["validator"] if self.is_of(url) else None

    def _read_source(self):
        """{url, validator} of the bytes. InputError if that is damaged or foreign."""
        found = read_object(self._source)
        url, validator = found.get("url"), found.get("validator", "")
        if not isinstance(url, str) or not (validator is None or is_header(validator)):
            raise InputError(f"{self._source}: not written by this step")
        return found

    def start(self, url, headers):
        """Begin with no bytes, of the file that an answer's headers describe."""
        etag = headers.get("ETag", "")
        validator = etag if etag.startswith('"') else headers.get("Last-Modified")  # no weak ETag
        validator = validator if is_header(validator) else None
        self.path.unlink(missing_ok=True)
        write_file(self._source, json.dumps({"url": url, "validator": validator}))

    def remove(self):
        self.path.unlink(missing_ok=True)
        self._source.unlink(missing_ok=True)
