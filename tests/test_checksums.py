"""A large file is hashed once, and again as soon as it may be another."""

import os

import pytest
from cxr import checksums
from cxr.checksums import known_sha256_of, sha256_of

LONG_AGO = 1_000_000_000_000_000_000  # ns


@pytest.fixture
def large(tmp_path, monkeypatch):
    """A file of results/ that is long settled, and a list of how often it was hashed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checksums, "LARGE", 10)
    path = tmp_path / "results/train.npy"
    path.parent.mkdir()
    path.write_bytes(b"0123456789")
    os.utime(path, ns=(LONG_AGO, LONG_AGO))
    hashed = []
    monkeypatch.setattr(
        checksums, "sha256_of", lambda file: [hashed.append(file), sha256_of(file)][1]
    )
    return path.relative_to(tmp_path), hashed


def test_an_unchanged_file_is_hashed_once(large):
    path, hashed = large
    assert [known_sha256_of(path) for _ in range(3)] == [sha256_of(path)] * 3
    assert len(hashed) == 1


@pytest.mark.parametrize("change", ["content", "size", "replaced"])
def test_a_changed_file_is_hashed_again(large, change):
    path, _ = large
    known_sha256_of(path)
    content = b"9876543210" if change != "size" else b"0123456789+"
    if change == "replaced":  # with the date of the first, as `cp -p` and `mv` do
        path.with_name("other").write_bytes(content)
        path.with_name("other").rename(path)
    else:
        path.write_bytes(content)
    if change != "content":
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    assert known_sha256_of(path) == sha256_of(path)


def test_what_may_still_change_within_a_tick_is_not_noted(large):
    path, hashed = large
    path.touch()
    known_sha256_of(path)
    known_sha256_of(path)
    assert len(hashed) == 2


def test_a_damaged_note_and_files_outside_of_results_do_no_harm(large, tmp_path):
    path, hashed = large
    known_sha256_of(path)
    path.with_name(".train.npy.sum").write_text("[[1, 2")
    assert known_sha256_of(path) == sha256_of(path)
    other = tmp_path / "val.npy"
    path.absolute().rename(other)
    known_sha256_of(other)
    assert len(hashed) == 3 and not list(tmp_path.glob(".*"))
