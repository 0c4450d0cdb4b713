"""Folders are searched for images once, without what is none, and nothing that hangs is opened."""

import os
import socket
from collections import Counter

import pytest
from cxr.data.folders import is_clutter, walk

pytest.importorskip("PIL.Image")
from cxr.data.decoding import UnreadableImage, image_files, read_bytes


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def names_below(folder):
    return [str(path.relative_to(folder)) for path, reason in walk(folder) if reason is None]


@pytest.mark.parametrize(
    "name",
    [
        "._a.png",
        "images/._a.png",
        "__MACOSX/images/a.png",
        ".DS_Store",
        "x/Thumbs.db",
        "@eaDir/a.png",
    ],
)
def test_what_desktops_leave_is_no_image(tmp_path, name):
    touch(tmp_path / name)
    touch(tmp_path / "a.png")
    assert is_clutter(name) and not is_clutter("./images/a.png")
    assert names_below(tmp_path) == ["a.png"]


def test_linked_folders_are_searched_once(tmp_path):
    xrays, elsewhere = tmp_path / "xrays", tmp_path / "elsewhere"
    touch(xrays / "real/a.png")
    touch(elsewhere / "b.png")
    for name, target in (
        ("0", xrays / "real"), ("1", xrays), ("2", tmp_path), ("3", elsewhere), ("4", elsewhere)
    ):  # fmt: skip
        (xrays / name).symlink_to(target)
    (elsewhere / "loop").symlink_to(elsewhere)
    assert names_below(xrays) == ["3/b.png", "real/a.png"]


@pytest.mark.parametrize("masks", ["masks", "Masks", "lung_masks", "MASK"])
def test_masks_beside_images_are_passed_over(tmp_path, masks):
    touch(tmp_path / "images/COVID-1.png")
    touch(tmp_path / masks / "COVID-1.png")
    touch(tmp_path / "unmasked/b.png")
    passed = Counter()
    found = [str(name) for name in image_files(tmp_path, passed)]
    assert found == ["images/COVID-1.png", "unmasked/b.png"]
    assert passed == {"in folders of masks": 1}


def test_pipes_sockets_and_devices_are_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s.png"))
        passed = Counter()
        assert image_files(tmp_path, passed) == []
        assert passed == {"no files, but pipes, sockets or devices": 3}
        for path in tmp_path.iterdir():
            with pytest.raises(UnreadableImage, match="no file, but a pipe, socket or device"):
                read_bytes(path)


def test_a_dead_link_is_among_the_images(tmp_path):
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    assert [str(name) for name in image_files(tmp_path)] == ["a.png"]
