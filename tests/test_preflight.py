"""What preflight finds: planted faults are named, and a sound machine has none."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

torch = pytest.importorskip("torch")
import check_machine
import pandas as pd
from check_sources import check_sources
from filelock import FileLock
from small_trainings import SETTINGS
from write_preflight import write_preflight

NET = ["squeezenet1_1", 3, 4]
TRAINING = {
    "name": "netA, phase 1", "rule": "train_phase", "runtime": 720, "architecture": NET[0],
    "batch_size": NET[2], "train": 3600, "val": 1080, "epochs": 10, "trainable": "all",
    "flip": False,
}  # fmt: skip


class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/there" else 404)
        self.send_header("Content-Length", "10")
        self.end_headers()
        self.wfile.write(b"0123456789")

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def problems(sources, out, **options):
    check_sources(sources, options.get("lock"), options.get("wait", 0), out)
    return pd.read_csv(out, keep_default_na=False).set_index("source").problem


def test_sources(server, tmp_path):
    (tmp_path / "file").write_text("abc")
    sources = {
        "good": {"url": f"{server}/there", "bytes": 10},
        "other": {"url": f"{server}/there", "bytes": 11},
        "gone": {"url": f"{server}/gone"},
        "nobody": {"url": "http://127.0.0.1:9/x"},
        "file": {"local": str(tmp_path / "file"), "bytes": 3},
        "none": {"local": str(tmp_path / "none")},
    }
    found = problems(sources, tmp_path / "sources.csv")
    assert found[["good", "file"]].tolist() == ["", ""]
    assert found["other"] == "expected 11 bytes"
    assert found["gone"] == "it answers Not Found"
    assert found["nobody"].startswith("not reached")
    assert found["none"] == "No such file or directory"


@pytest.mark.parametrize("reaches", [True, False])
def test_locks_of_jobs(tmp_path, reaches):
    lock = str(tmp_path / "lock")
    assert "not known" in problems({}, tmp_path / "none.csv", lock=lock)["lock"]
    held = FileLock(lock, is_singleton=False)
    if reaches:
        held.acquire()
    (tmp_path / "lock.held").touch()
    found = problems({}, tmp_path / "sources.csv", lock=lock)["lock"]
    assert found == "" if reaches else found.startswith("flock doesn't reach jobs")
    held.release()


@pytest.fixture(scope="module")
def machine(tmp_path_factory):
    """What check_machine writes on this machine's CPU."""
    out = tmp_path_factory.mktemp("machine") / "machine.json"
    settings = SETTINGS | {"epochs": 2, "batch_size": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        check_machine.check_machine([NET], 64, 0.1, settings, out.with_name("lock"), out)
    assert not out.with_name("lock.held").exists()
    return out


def test_this_machine_can_be_trusted(machine):
    trust = json.loads(machine.read_text())["trust"]
    assert trust["CUDA graph: the eager bits"] == "no GPU"
    assert {answer for name, answer in trust.items() if "graph" not in name} == {"yes"}


def test_other_bits_are_named():
    one = {"a": torch.zeros(3), "b": torch.ones(2)}
    assert check_machine.same(one, one) == "yes"
    assert check_machine.same(one, one | {"b": torch.zeros(2)}) == "no: 1 of 2 tensors differ"


def written(machine, tmp_path, training=TRAINING, need_gb=0.0):
    pd.DataFrame(columns=["source", "where", "found", "problem"]).to_csv(
        tmp_path / "sources.csv", index=False
    )
    files = tmp_path / "preflight.md", tmp_path / "preflight.csv"
    with pytest.MonkeyPatch.context() as patch:  # a SLURM that is installed here, but not running
        patch.setattr("write_preflight.shutil.which", lambda _: None)
        write_preflight(machine, tmp_path / "sources.csv", [training], need_gb, *files)
    return files[0].read_text(), pd.read_csv(files[1], keep_default_na=False).set_index("what")


def test_hours_follow_from_rates(machine, tmp_path):
    checked = json.loads(machine.read_text())
    checked["speed"][0]["eager"] = 11.0
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(checked))
    text, table = written(path, tmp_path)
    assert table.found["netA, phase 1"].startswith("1 h for 3,600 images")  # 39,600 passes at 11/s
    assert "No problem was found." in text


def test_what_is_too_little_is_named(machine, tmp_path):
    checked = json.loads(machine.read_text())
    checked["trust"]["repeated: same bits"] = "no: 1 of 52 tensors differ"
    checked["speed"][0]["eager"] = 11.0
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(checked))
    text, table = written(path, tmp_path, TRAINING | {"runtime": 30}, need_gb=1e9)
    assert table.problem["train_phase"] == "put under set-resources: train_phase: {runtime: 90}"
    assert table.problem["free space"] == "too little"
    assert table.problem["repeated: same bits"] == "results can't be trusted here"
    assert text.index("results can't be trusted here") < text.index("## What")
