"""The gallery of test images: what its page and its pictures hold; test_pages.py looks at it."""

import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.pages import REPORT
from explain_test_set import explain_test_set
from PIL import Image
from small_trainings import CLASSES, save_start
from write_gallery import write_gallery

METHODS = ["preset_a_flat_conserving", "grad_cam"]
NAMES = ["NORMAL/a (1).png", "Viral/<script>.png", "COVID-19/c.png"]


@pytest.fixture
def images(tmp_path):
    """Paths of three test images, edited and unedited."""
    rng = np.random.default_rng(0)
    paths = [tmp_path / "edited.npy", tmp_path / "unedited.npy"]
    for path in paths:
        pixels = rng.integers(0, 255, (3, 32, 32)).astype(np.uint8)
        save_images(path, pixels, pd.DataFrame({"image": NAMES, "class": CLASSES}))
    return paths


@pytest.fixture
def pictures(images, tmp_path):
    """A function that explains the images: the folder of pictures."""
    net, folder = save_start(tmp_path, "resnet18"), tmp_path / "netA"

    def write():
        files = (
            folder / "gallery",
            folder / "test_set.npz",
            folder / "test_set.csv",
            folder / "s.csv",
        )
        explain_test_set(net, *images, METHODS, *files)
        return folder / "gallery"

    return write


def page_of(folder, images, names=NAMES, classes=CLASSES):
    """What the gallery's page holds."""
    rows = [
        {"image": name, "class": true, "version": version, "phase": 1, "predicted": "covid19"}
        | dict(zip(CLASSES, (0.1, 0.2, 0.7 + place / 10), strict=True))
        for version in ("edited", "unedited")
        for place, (name, true) in enumerate(zip(names, classes, strict=True))
    ]
    pd.DataFrame(rows).to_csv(folder / "predictions.csv", index=False)
    page, template = (
        folder / "netA" / "gallery.html",
        (REPORT / "gallery.html", REPORT / "style.css"),
    )
    tables = [path.with_suffix(".csv") for path in images]
    pictures = folder / "netA" / "gallery"
    write_gallery(folder / "predictions.csv", *tables, METHODS, pictures, page, *template)
    found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(found.group(1))


def test_page_holds_every_image_with_both_versions(tmp_path, images):
    data = page_of(tmp_path, images)
    assert [image["image"] for image in data["images"]] == NAMES, "and none ends the script"
    assert [image["class"] for image in data["images"]] == CLASSES
    assert data["images"][1]["unedited"] == {"predicted": "covid19", "sigmoids": [0.1, 0.2, 0.8]}
    assert (data["net"], data["pictures"]) == ("netA", "gallery")


def test_pictures_are_of_every_image_class_and_method(pictures):
    expected = {f"{n}_{version}.png" for n in range(3) for version in ("edited", "unedited")}
    expected |= {f"{n}_{m}_{c}.png" for n in range(3) for m in METHODS for c in CLASSES}
    assert {path.name for path in pictures().iterdir()} == expected


def test_heatmaps_hide_nothing_where_nothing_is_relevant(pictures):
    with Image.open(pictures() / "0_preset_a_flat_conserving_covid19.png") as heatmap:
        colours = np.asarray(heatmap)
    assert colours.shape == (32, 32, 4)
    assert colours[..., 3].max() == 255 and colours[..., 3].min() < 50


def test_same_input_gives_the_same_files(pictures):
    folder = pictures()
    files = [folder.parent / "test_set.npz", *sorted(folder.iterdir())]
    before = [path.read_bytes() for path in files]
    (folder / "9_edited.png").touch()
    pictures()
    assert sorted(folder.iterdir()) == files[1:], "nothing of the run before"
    assert [path.read_bytes() for path in files] == before


def test_pictures_are_there_whole_or_not_at_all(pictures, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr("explain_test_set.draw_overlays", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        pictures()
    assert list((tmp_path / "netA").iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"names": ["x", *NAMES[1:]]}, {"names": NAMES[::-1]}, {"classes": CLASSES[::-1]}]
)
def test_predictions_of_other_images_are_refused(tmp_path, images, changes):
    with pytest.raises(InputError, match="its edited images or classes differ from"):
        page_of(tmp_path, images, **changes)
    assert not (tmp_path / "netA").exists()
