"""The gallery of test images: what its page and its pictures hold; test_pages.py looks at it."""

import json
import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.lrp.pytorch import METHODS
from cxr.pages import REPORT
from PIL import Image
from small_trainings import CLASSES, save_start
from write_gallery import write_gallery

NAMES = ["NORMAL/a (1).png", "Viral/<script>.png", "COVID-19/c.png"]


@pytest.fixture
def gallery(tmp_path):
    """A function that writes the gallery of three images: (its data, folder of pictures)."""
    rng = np.random.default_rng(0)
    for version in ("edited", "unedited"):
        pixels = rng.integers(0, 255, (3, 32, 32)).astype(np.uint8)
        save_images(
            tmp_path / f"{version}.npy", pixels, pd.DataFrame({"image": NAMES, "class": CLASSES})
        )

    def write(names=NAMES, classes=CLASSES):
        rows = [
            {"image": name, "class": true, "version": version, "phase": 1, "predicted": "covid19"}
            | dict(zip(CLASSES, (0.1, 0.2, 0.7 + place / 10), strict=True))
            for version in ("edited", "unedited")
            for place, (name, true) in enumerate(zip(names, classes, strict=True))
        ]
        pd.DataFrame(rows).to_csv(tmp_path / "predictions.csv", index=False)
        net, page = save_start(tmp_path, "resnet18"), tmp_path / "netA" / "gallery.html"
        images = tmp_path / "edited.npy", tmp_path / "unedited.npy"
        pictures = tmp_path / "netA" / "gallery"
        template = REPORT / "gallery.html", REPORT / "style.css"
        write_gallery(
            net, *images, tmp_path / "predictions.csv", METHODS, page, pictures, *template
        )
        found = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
        return json.loads(found.group(1)), pictures

    return write


def test_page_holds_every_image_with_both_versions(gallery):
    data, pictures = gallery()
    assert [image["image"] for image in data["images"]] == NAMES, "and none ends the script"
    assert [image["class"] for image in data["images"]] == CLASSES
    assert data["images"][1]["unedited"] == {"predicted": "covid19", "sigmoids": [0.1, 0.2, 0.8]}
    assert (data["net"], data["pictures"]) == ("netA", pictures.name)
    expected = {f"{n}_{version}.png" for n in range(3) for version in ("edited", "unedited")}
    expected |= {f"{n}_{m}_{c}.png" for n in range(3) for m in METHODS for c in CLASSES}
    assert {path.name for path in pictures.iterdir()} == expected


def test_heatmaps_hide_nothing_where_nothing_is_relevant(gallery):
    _, pictures = gallery()
    with Image.open(pictures / "0_preset_a_flat_conserving_covid19.png") as heatmap:
        colours = np.asarray(heatmap)
    assert colours.shape == (32, 32, 4)
    assert colours[..., 3].max() == 255 and colours[..., 3].min() < 50


def test_same_input_gives_the_same_files(gallery):
    _, pictures = gallery()
    files = [pictures.parent / "gallery.html", *sorted(pictures.iterdir())]
    before = [path.read_bytes() for path in files]
    (pictures / "9_edited.png").touch()
    gallery()
    assert sorted(pictures.iterdir()) == files[1:], "nothing of the run before"
    assert [path.read_bytes() for path in files] == before


def test_pictures_are_there_whole_or_not_at_all(gallery, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("no memory")

    monkeypatch.setattr("write_gallery.draw_relevance", fail)
    with pytest.raises(RuntimeError, match="no memory"):
        gallery()
    assert list((tmp_path / "netA").iterdir()) == []


@pytest.mark.parametrize(
    "changes", [{"names": ["x", *NAMES[1:]]}, {"names": NAMES[::-1]}, {"classes": CLASSES[::-1]}]
)
def test_predictions_of_other_images_are_refused(gallery, tmp_path, changes):
    with pytest.raises(InputError, match="its edited images or classes differ from"):
        gallery(**changes)
    assert not (tmp_path / "netA").exists()
