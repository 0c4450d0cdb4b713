"""The word drawn into every test image: what it touches, and what is said of nets that read it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from cxr.cli import InputError
from cxr.data.image_sets import open_by_class, save_images
from cxr.data.images import draw_word, word_box
from measure_word import measure_word, shares_on
from PIL import Image
from small_trainings import CLASSES
from torch import nn

SIZE, N = 64, 60
METHOD = "preset_a_flat_conserving"
PLACE = {"word": "SEDUTO", "position": (0.5, 0.1), "height": 0.1}


@pytest.mark.parametrize("position", [(0.5, 0.1), (0, 0), (0.9, 0.95)])
@pytest.mark.parametrize("size", [32, 64, 224])
def test_word_touches_its_box_alone(size, position):
    grey = Image.new("L", (size, size), 60)
    changed = np.asarray(draw_word(grey, "SEDUTO", position, 0.1)) != 60
    left, top, right, bottom = word_box(size, "SEDUTO", position, 0.1)
    inside = np.zeros((size, size), bool)
    inside[top:bottom, left:right] = True
    assert changed.any() and not changed[~inside].any()


class Reader(nn.Module):
    """Takes what is bright in a box for COVID-19."""

    def __init__(self, box):
        super().__init__()
        self.box = box

    def forward(self, x):
        left, top, right, bottom = self.box
        bright = x[:, 0, top:bottom, left:right].mean(dim=(1, 2))[:, None]
        return torch.cat([-bright, torch.full_like(bright, -9), bright], dim=1)


@pytest.fixture
def images(tmp_path):
    """Dark images of all classes."""
    pixels = np.random.default_rng(0).integers(0, 20, (N, SIZE, SIZE)).astype(np.uint8)
    table = pd.DataFrame(
        {"image": [f"{n}.png" for n in range(N)], "class": np.array(CLASSES)[np.arange(N) % 3]}
    )
    save_images(tmp_path / "test.npy", pixels, table)
    return tmp_path / "test.npy"


def measure(images, box, monkeypatch, folder, explain="netA"):
    loaded = Reader(box), {"outputs": CLASSES}
    monkeypatch.setattr("measure_word.load_net", lambda _: loaded)
    maps = np.ones((N, SIZE, SIZE), np.float32)
    monkeypatch.setattr("measure_word.heatmaps", lambda *_: {METHOD: maps, "grad_cam": -maps})
    paths = [folder / name for name in ("word.csv", "relevance.csv", "word.svg")]
    methods = [METHOD, "grad_cam"]
    measure_word({"netA": None}, images, explain, methods, *PLACE.values(), 0, *paths)
    assert paths[2].stat().st_size
    return pd.read_csv(paths[0]), pd.read_csv(paths[1])


def test_net_that_reads_the_word(images, monkeypatch, tmp_path):
    found, _ = measure(images, word_box(SIZE, **PLACE), monkeypatch, tmp_path)
    rows = found[found.output == "covid19"]
    assert set(rows["class"]) == set(CLASSES) and (rows.n == 20).all()
    assert (rows.change > 0.1).all() and (rows.change_low > 0).all()
    assert rows.change.to_numpy() == pytest.approx((rows["with"] - rows.without).to_numpy())


def test_net_that_reads_another_place(images, monkeypatch, tmp_path):
    found, relevance = measure(images, (0, 40, 20, 60), monkeypatch, tmp_path)
    assert (found.change == 0).all() and (found.changed_decisions == 0).all()
    nothing, relevance = (
        relevance[relevance.method != METHOD],
        relevance[relevance.method == METHOD],
    )
    assert (nothing.n == 0).all() and nothing.share_on_word.isna().all() and len(nothing) == 3
    assert relevance.share_on_word.to_numpy() == pytest.approx(relevance.share_of_area.to_numpy())


def test_shares_count_what_speaks_for_the_decision(images):
    maps = np.zeros((N, SIZE, SIZE))
    maps[:, 0, 0], maps[:, 10, 10], maps[:, 20, 20] = 3, 1, -100
    table = shares_on((8, 8, 12, 12), maps, open_by_class(images, CLASSES), np.arange(N), 0)
    assert (table.share_on_word == 0.25).all()
    assert (table.share_of_area == 16 / SIZE**2).all()


def test_unknown_net_to_explain(images, monkeypatch, tmp_path):
    with pytest.raises(InputError, match="--explain netZ: no such net"):
        measure(images, (0, 0, 4, 4), monkeypatch, tmp_path, explain="netZ")
