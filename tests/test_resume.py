"""A training that is killed, at any moment, ends with the bytes of one that isn't."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
import small_trainings
from cxr.cli import InputError
from cxr.data.image_sets import open_by_class
from cxr.training import loop
from cxr.training import resume as resume_module
from cxr.training.resume import ResumeFile, Stopped, hash_of
from mutations import mutations
from small_trainings import CLASSES, CPU, command, draw_images, save_start

TIMES = ["seconds", "images_per_second"]


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Five batches, the last of four."""
    return draw_images(tmp_path_factory.mktemp("images"), 40)


class Killed(BaseException):
    """What a test throws into a training at a moment of its choice."""


class Killing(ResumeFile):
    """Saves after every batch, and is killed after so many saves."""

    def __init__(self, path, saves):
        super().__init__(path, "key", every=0)
        self.saves = saves

    def save(self, state):
        super().save(state)
        self.saves -= 1
        if not self.saves:
            raise Killed


def train(images, resume=None, architecture="squeezenet1_1", **changes):
    options = {"epochs": 3, "flip": True} | changes
    state, history = small_trainings.train(images, architecture, resume=resume, **options)
    return state, pd.DataFrame(history).drop(columns=TIMES)


def train_with_kills(images, folder, saves, **options):
    """Train, killed after so many saves of each start, until it ends; returns the starts too."""
    for starts in range(1, 100):
        with Killing(folder / ".resume", saves) as resume:
            try:
                return *train(images, resume, **options), starts
            except Killed:
                pass
    raise AssertionError("it makes no progress")


@pytest.mark.parametrize("saves", [2, 3, 4, 5, 6, 7, 11])
def test_killed_after_any_batch_it_ends_with_the_same_bits(images, tmp_path, saves):
    """The net has dropout: PyTorch's random numbers go on, too."""
    expected, rows = train(images)
    found, found_rows, starts = train_with_kills(images, tmp_path, saves)
    assert starts > 1
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    pd.testing.assert_frame_equal(rows, found_rows, check_exact=True)


@pytest.mark.parametrize(
    "options",
    [
        {"architecture": "resnet18", "trainable": "output_layer"},
        {"architecture": "resnet18", "epochs": 2},
        {"epochs": 8, "learning_rate": 1.0, "patience": 1, "flip": False},
    ],
    ids=["frozen", "batch norm", "early stopping"],
)
def test_so_do_other_ways_of_training(images, tmp_path, options):
    expected, rows = train(images, **options)
    found, found_rows, _ = train_with_kills(images, tmp_path, 9, **options)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    pd.testing.assert_frame_equal(rows, found_rows, check_exact=True)


@pytest.mark.parametrize("architecture", ["resnet18", "densenet121"])
def test_cached_features_train_to_the_bits_of_the_plain_loop(images, monkeypatch, architecture):
    options = {"trainable": "output_layer", "architecture": architecture}
    cached, rows = train(images, **options)
    monkeypatch.setattr(loop, "output_layer", lambda net: None)  # nothing to cache for
    plain, plain_rows = train(images, **options)
    assert all(torch.equal(cached[name], plain[name]) for name in plain)
    pd.testing.assert_frame_equal(rows, plain_rows, check_exact=True)


def test_state_of_another_key_is_not_used(images, tmp_path, capsys):
    with pytest.raises(Killed), Killing(tmp_path / ".resume", 3) as resume:
        train(images, resume)
    with ResumeFile(tmp_path / ".resume", "other") as resume:
        assert resume.load(CPU) is None
    assert "of other settings, data or code" in capsys.readouterr().out


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / ".resume"
    with ResumeFile(path, "key") as resume:
        resume.save_result(({"weight": torch.arange(99.0)}, [{"epoch": 1, "val_loss": 0.1}]))
    return path.read_bytes()


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\5\6" + bytes(18), b"\x80\2}q\0.", None])
def test_damaged_state_is_not_used(saved, tmp_path, capsys, content):
    (tmp_path / ".resume").write_bytes(saved[:600] if content is None else content)
    with ResumeFile(tmp_path / ".resume", "key") as resume:
        assert resume.result() is None and resume.load(CPU) is None
    out = capsys.readouterr().out
    assert "damaged, or not of a training" in out and out.count("\n") == 1


def test_no_damage_is_taken_for_a_result(saved, tmp_path, capsys):
    """PyTorch itself checks no sums: a flipped bit in a weight would be trained on."""
    for content in mutations(saved, 300, seed=0):
        (tmp_path / ".resume").write_bytes(content)
        found = ResumeFile(tmp_path / ".resume", "key").result()
        if found is not None:  # what was damaged means nothing
            state, history = found
            assert torch.equal(state["weight"], torch.arange(99.0))
            assert history == [{"epoch": 1, "val_loss": 0.1}]


def test_mapped_arrays_are_hashed_by_reading_their_file_once(images, monkeypatch):
    data = open_by_class(images, CLASSES)
    content = data.content()
    assert content[-1] == images
    assert not any(isinstance(part, np.memmap) for part in content)
    read = []
    monkeypatch.setattr(resume_module, "known_sha256_of", lambda path: read.append(path) or "")
    hash_of(*content, *data.content())
    assert read == [images]


def test_a_resume_on_another_kind_of_device_says_that_bits_differ(
    images, tmp_path, monkeypatch, capsys
):
    for name, told in [("NVIDIA A100", False), ("NVIDIA A100", False), ("NVIDIA H100", True)]:
        monkeypatch.setattr(loop, "device_name", lambda device, name=name: name)
        with pytest.raises(Killed), Killing(tmp_path / ".resume", 2) as resume:
            train(images, resume)
        said = "warning: begun on NVIDIA A100, resumed on NVIDIA H100: the result differs"
        assert (said in capsys.readouterr().out) == told


def test_a_state_of_a_gpu_resumes_on_the_cpu(images, tmp_path):
    """It holds the GPU's random numbers, too."""
    with pytest.raises(Killed), Killing(tmp_path / ".resume", 3) as resume:
        train(images, resume)
    saved = torch.load(tmp_path / ".resume", weights_only=True)
    saved["state"]["random"].append(torch.zeros(16, dtype=torch.uint8))
    torch.save(saved, tmp_path / "state")
    (tmp_path / "state").replace(tmp_path / ".resume")
    with ResumeFile(tmp_path / ".resume", "key") as resume:
        train(images, resume, epochs=2)


def test_a_full_disk_leaves_the_state_saved_before(tmp_path, monkeypatch, capsys):
    with ResumeFile(tmp_path / ".resume", "key") as resume:
        resume.save({"n": 1})
        if not os.path.exists("/dev/full"):
            pytest.skip("no /dev/full, which is always full, on this system")
        monkeypatch.setattr(torch, "save", lambda *_: Path("/dev/full").write_bytes(b"x" * 9999))
        resume.save({"n": 2})
        assert resume.load(CPU) == {"n": 1}
    assert "not saved: [Errno 28] No space left on device" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == [".resume"]


def test_two_processes_cannot_train_the_same(tmp_path):
    with ResumeFile(tmp_path / ".resume", "key"):
        code = (
            "from cxr.training.resume import ResumeFile; import sys\n"
            "with ResumeFile(sys.argv[1], 'key'): pass"
        )
        second = subprocess.run(
            [sys.executable, "-c", code, tmp_path / ".resume"],
            cwd=small_trainings.SCRIPT.parent, text=True, capture_output=True,
        )  # fmt: skip
    assert second.returncode == 1
    assert "another process, maybe on another machine, trains the same" in second.stderr


def test_hash_depends_on_every_byte(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1")
    array = np.zeros(3)
    first = hash_of("a", path, array)
    assert first == hash_of("a", path, np.zeros(3))
    path.write_bytes(b"2")
    second = hash_of("a", path, array)
    array[2] = 1e-300
    assert len({first, second, hash_of("a", path, array), hash_of("b", path, array)}) == 4


# The step itself, killed by signals


@pytest.fixture
def start(tmp_path):
    return save_start(tmp_path)


def run_uninterrupted(images, start, folder):
    folder.mkdir()
    subprocess.run(command(images, start, folder, epochs=30), check=True)
    return (folder / "checkpoint.safetensors").read_bytes(), read_history(folder)


def read_history(folder):
    return pd.read_csv(folder / "history.csv").drop(columns=TIMES)


def saved_at(folder):
    """When the training's state was last saved."""
    path = folder / ".resume"
    return path.stat().st_mtime_ns if path.exists() else None


def test_sigkill_at_random_moments(images, start, tmp_path):
    expected, rows = run_uninterrupted(images, start, tmp_path / "whole")
    folder = tmp_path / "killed"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for _ in range(4):
        before = saved_at(folder)
        process = subprocess.Popen(command(images, start, folder, epochs=30))
        while saved_at(folder) == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 0.5))
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (folder / "checkpoint.safetensors").exists()
    subprocess.run(command(images, start, folder, epochs=30), check=True)
    assert (folder / "checkpoint.safetensors").read_bytes() == expected
    pd.testing.assert_frame_equal(read_history(folder), rows, check_exact=True)
    left = {path.name for path in folder.iterdir()}
    assert left == {"checkpoint.safetensors", "history.csv", ".resume", ".resume.lock"}
    for name in ("checkpoint.safetensors", "history.csv"):  # as Snakemake does to a failed job
        (folder / name).unlink()
    again = subprocess.run(
        command(images, start, folder, epochs=30), check=True, capture_output=True, text=True
    )
    assert "training had ended; its result is written again" in again.stdout
    assert "epoch" not in again.stdout
    assert (folder / "checkpoint.safetensors").read_bytes() == expected
    pd.testing.assert_frame_equal(read_history(folder), rows, check_exact=True)


def test_sigterm_saves_and_says_so(images, start, tmp_path):
    process = subprocess.Popen(
        command(images, start, tmp_path, epochs=5000),
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while saved_at(tmp_path) is None:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "stopped by SIGTERM at epoch" in message
    assert "Traceback" not in message
    assert (tmp_path / ".resume").exists()


def test_stopped_is_a_user_s_error():
    assert issubclass(Stopped, InputError)
