"""Downloads from a server that misbehaves end in the right file or in a clear error."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("requests")
from cxr.cli import InputError
from cxr.data import download

CONTENT = np.random.default_rng(0).bytes(2_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
SCRIPT = Path(__file__).parent.parent / "workflow_scripts" / "download.py"


class Server(ThreadingHTTPServer):
    """Serves CONTENT; each request takes the next behaviour of a list, then the default one."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours, self.default, self.content = [], {}, CONTENT
        self.sent, self.requests = 0, []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/images_001.tar.gz"

    def handle_error(self, *_):
        pass  # clients that leave are part of the tests


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        do = server.behaviours.pop(0) if server.behaviours else server.default
        server.requests.append(dict(self.headers))
        content = do.get("content", server.content)
        etag = do.get("etag", f'"{hashlib.md5(content).hexdigest()}"')
        start, status = 0, do.get("status", 200)
        asked = self.headers.get("Range")
        current = self.headers.get("If-Range") in (None, etag)
        if asked and status == 200 and do.get("ranges", True) and current:
            start, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(content):
                start, status, content = 0, 416, b""
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        if status == 206:
            first = start + do.get("lie", 0)
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Type", do.get("type", "application/gzip"))
        if do.get("length", True):
            self.send_header("Content-Length", str(len(content) - start))
        for name, value in do.get("headers", {}).items():
            self.send_header(name, value)
        self.end_headers()
        end = min(len(content), start + do.get("cut", len(content)))
        for place in range(start, end, 50_000):
            part = content[place : min(end, place + 50_000)]
            self.wfile.write(part)
            server.sent += len(part)
            time.sleep(do.get("pause", 0))
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = Server()
    yield running
    running.shutdown()
    running.server_close()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "chestxray14" / "images_001.tar.gz"


def fetch(server, out, **expected):
    download.fetch_url(server.url, out, expected or {"sha256": SHA256}, first_wait=0.01)


def left_over(out):
    return [path.name for path in out.parent.iterdir() if path.suffix != ".lock"]


def test_whole_file(server, out, capsys):
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert left_over(out) == [out.name]
    assert "100% of 2,000,000 bytes" in capsys.readouterr().out
    assert len(server.requests) == 1


def test_a_cut_connection_goes_on_where_it_was(server, out):
    server.behaviours = [{"cut": 1_000_000}]
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert server.requests[1]["Range"].startswith("bytes=")
    assert server.sent <= len(CONTENT) + download.CHUNK


def test_many_cuts_that_each_bring_bytes(server, out):
    server.default = {"cut": 150_000}
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert len(server.requests) > download.ATTEMPTS


def test_a_slow_server(server, out):
    server.default = {"pause": 0.02}
    fetch(server, out)
    assert out.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [503, 500, 429, 408])
def test_passing_trouble(server, out, status):
    server.behaviours = [{"status": status, "content": b"wait"}] * 3
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_the_server_says_when_to_come_again(server, out):
    server.behaviours = [{"status": 429, "headers": {"Retry-After": "1"}, "content": b""}]
    started = time.monotonic()
    fetch(server, out)
    assert time.monotonic() - started >= 1


def test_trouble_for_ever(server, out):
    server.default = {"status": 503, "content": b""}
    with pytest.raises(InputError, match=r"HTTP 503 .*, 8 times in a row.*name it as the source's"):
        fetch(server, out)
    assert len(server.requests) == download.ATTEMPTS
    assert not out.exists()


def test_trouble_keeps_what_came(server, out):
    server.behaviours, server.default = [{"cut": 700_000}], {"status": 503, "content": b""}
    with pytest.raises(InputError, match=r"[67]\d\d,\d\d\d bytes that came are kept"):
        fetch(server, out)
    server.default = {}
    server.sent = 0
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert server.sent < 1_400_000


@pytest.mark.parametrize("status", [404, 403, 410])
def test_no_such_file(server, out, status):
    server.default = {"status": status, "content": b"gone"}
    with pytest.raises(InputError, match=f"HTTP {status}"):
        fetch(server, out)
    assert len(server.requests) == 1
    assert left_over(out) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
def test_an_html_page_with_status_200(server, out, kind):
    server.default = {"content": b"\n<!DOCTYPE html><html>Sign in</html>", "type": kind}
    with pytest.raises(InputError, match="an HTML page came instead of the file; open it"):
        fetch(server, out)
    assert not out.exists()
    server.default = {}
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_wrong_bytes(server, out):
    server.default = {"content": b"x" * len(CONTENT)}
    with pytest.raises(InputError, match=f"expected {SHA256}"):
        fetch(server, out)
    assert left_over(out) == []


def test_wrong_size(server, out):
    with pytest.raises(InputError, match="the server has 2,000,000 bytes, expected 7"):
        fetch(server, out, bytes=7)
    assert left_over(out) == []


def test_no_ranges(server, out):
    server.behaviours = [{"cut": 900_000}]
    server.default = {"ranges": False}
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_no_sums_no_length_no_etag(server, out):
    server.behaviours = [{"length": False, "etag": ""}]
    download.fetch_url(server.url, out, {}, first_wait=0.01)
    assert out.read_bytes() == CONTENT


def test_the_file_changes_between_two_attempts(server, out):
    server.behaviours = [{"cut": 900_000, "content": b"old" * 700_000}]
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_the_file_changes_and_nothing_tells(server, out):
    server.behaviours = [{"cut": 900_000, "content": b"old" * 700_000, "etag": ""}]
    server.default = {"etag": ""}
    partial = out.parent / f".{out.name}.partial"
    with pytest.raises(InputError):  # glued together in one run: the sum says so
        fetch(server, out)
    assert not out.exists() and not partial.exists()
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_a_range_that_starts_elsewhere(server, out):
    server.behaviours = [{"cut": 900_000}, {"lie": 5}]
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_a_killed_process_resumes(server, out):
    server.default = {"pause": 0.1}
    words = [sys.executable, SCRIPT, "--url", server.url, "--out", out, "--sha256", SHA256]
    process = subprocess.Popen(words)
    partial = out.parent / f".{out.name}.partial"
    while not partial.exists() or partial.stat().st_size < 500_000:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    had, server.sent, server.default = partial.stat().st_size, 0, {}
    subprocess.run(words, check=True)
    assert out.read_bytes() == CONTENT
    assert server.sent <= len(CONTENT) - had + 100_000  # what was on its way to the first process


@pytest.mark.parametrize(
    "record",
    [
        b"", b'{"url": ', b"[]", b'{"a": 1}', b"\xff\x00", None,
        b'{"url": "x", "validator": "a\\nb"}', b'{"url": "x", "validator": "\\u20ac"}',
    ],
)  # fmt: skip
def test_damaged_leftovers_start_from_the_beginning(server, out, capsys, record):
    server.behaviours, server.default = [{"cut": 700_000}], {"status": 404, "content": b""}
    with pytest.raises(InputError):
        fetch(server, out)
    source = out.parent / f".{out.name}.partial.json"
    source.unlink() if record is None else source.write_bytes(record)
    server.default = {}
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert capsys.readouterr().out.count("starts from the beginning") == 1
    assert left_over(out) == [out.name]


def test_a_leftover_that_is_longer_than_the_file(server, out, capsys):
    server.behaviours, server.default = [{"cut": 700_000}], {"status": 404, "content": b""}
    with pytest.raises(InputError):
        fetch(server, out)
    with open(out.parent / f".{out.name}.partial", "ab") as file:
        file.write(bytes(3_000_000))
    server.default = {}
    fetch(server, out, bytes=len(CONTENT), sha256=SHA256)
    assert out.read_bytes() == CONTENT
    assert "longer than the 2,000,000 bytes; the download starts" in capsys.readouterr().out


@pytest.mark.parametrize("etag", ['"\u00e9"', '"a\tb"'])
def test_an_etag_that_cannot_be_sent_back(server, out, etag):
    server.behaviours = [{"cut": 900_000, "etag": etag}]
    fetch(server, out)
    assert out.read_bytes() == CONTENT


def test_two_processes_at_once(server, out):
    server.default = {"pause": 0.05}
    first = threading.Thread(target=fetch, args=(server, out))
    first.start()
    while not server.requests:
        time.sleep(0.01)
    words = [sys.executable, SCRIPT, "--url", server.url, "--out", out]
    second = subprocess.run(words, text=True, capture_output=True)
    first.join()
    assert second.returncode == 1
    assert "another process fetches this file" in second.stderr
    assert out.read_bytes() == CONTENT


def test_too_little_disk(server, out, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=1_999_999)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match="1,999,999 bytes free, 2,000,000 needed"):
        fetch(server, out)
    assert left_over(out) == []


def test_a_disk_that_fills_up(server, out):
    """A limit on file size stands for the disk: the write fails, and what came is kept."""
    words = [sys.executable, str(SCRIPT), "--url", server.url, "--out", str(out)]
    limited = f"ulimit -f 1000; trap '' XFSZ; exec {' '.join(words)}"
    run = subprocess.run(["bash", "-c", limited], text=True, capture_output=True)
    assert run.returncode == 1
    assert "what came is kept" in run.stderr and "Traceback" not in run.stderr
    partial = out.parent / f".{out.name}.partial"
    assert 900_000 < partial.stat().st_size <= 1_024_000
    server.sent = 0
    fetch(server, out)
    assert out.read_bytes() == CONTENT
    assert server.sent < 1_200_000


def test_no_server(out):
    with pytest.raises(InputError, match=r"the connection broke.*8 times in a row"):
        download.fetch_url("http://127.0.0.1:9/file", out, {}, first_wait=0.001)
    assert os.listdir(out.parent) == [f".{out.name}.partial.lock"]
