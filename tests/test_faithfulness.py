"""Faithfulness: curves against Quantus, and by nets that show what they need."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
import quantus
from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.evaluation.faithfulness import (
    area,
    fill_of,
    patch_numbers,
    patch_ranks,
    removal_curves,
)
from cxr.evaluation.intervals import mean_interval
from cxr.nets.inputs import network_input
from measure_faithfulness import areas_of, measure_faithfulness, read_maps
from small_trainings import CLASSES, CPU, save_start
from torch import nn
from torchvision.models import resnet18

SIZE, PATCHES = 32, 4
OUTPUTS = np.array([0, 2, 1])


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture(scope="module")
def maps():
    return np.random.default_rng(1).normal(size=(3, SIZE, SIZE))


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return resnet18(num_classes=3).eval()


class Sigmoids(nn.Module):
    """A net as Quantus takes it: from grey values, (n, 1, size, size), to sigmoids."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(network_input(x[:, 0])).sigmoid()


@pytest.mark.parametrize(("order", "name"), [(0, "morf"), (1, "lerf")])
def test_quantus_has_the_same_curves(net, pixels, maps, order, name):
    ranks = {"a": patch_ranks(maps, PATCHES, seed=0)}
    fills = fill_of(pixels, "mean", PATCHES)
    found = removal_curves(net, pixels, OUTPUTS, ranks, fills, PATCHES**2, CPU)["a"][:, order]
    for place in range(3):  # its fill is one value for all images of a call
        measure = quantus.RegionPerturbation(
            patch_size=SIZE // PATCHES, order=name, regions_evaluation=PATCHES**2,
            perturb_baseline=float(fills[place, 0, 0]), normalise=False, abs=False,
            disable_warnings=True, display_progressbar=False,
        )  # fmt: skip
        falls = measure(
            model=Sigmoids(net).eval(), x_batch=pixels[[place], None].astype(np.float32),
            y_batch=OUTPUTS[[place]], a_batch=maps[[place], None], softmax=False, device="cpu",
        )  # fmt: skip
        theirs = found[place, 0] - np.asarray(falls[0])
        np.testing.assert_allclose(found[place, 1:], theirs, atol=1e-6)


class Reader(nn.Module):
    """Its logits are the brightness of two places, and 0."""

    def forward(self, x):
        one, other = x[:, 0, :8, :8].mean((1, 2)), x[:, 0, 16:24, 16:24].mean((1, 2))
        return torch.stack([one, other, 0 * one], 1)


def planted(rows, columns):
    maps = np.zeros((1, SIZE, SIZE))
    maps[:, rows, columns] = 1
    return maps


def test_curves_of_a_net_that_reads_one_patch():
    pixels = np.zeros((1, SIZE, SIZE), np.uint8)
    pixels[:, :8, :8] = 255
    right, wrong = planted(slice(8), slice(8)), planted(slice(16, 24), slice(16, 24))
    ranks = {"right": patch_ranks(right, PATCHES, 0), "reversed": patch_ranks(-right, PATCHES, 0),
             "wrong": patch_ranks(wrong, PATCHES, 0)}  # fmt: skip
    fills = fill_of(pixels, "mean", PATCHES)
    curves = removal_curves(Reader(), pixels, [0], ranks, fills, 16, CPU)
    most, least = curves["right"][0]
    assert (most[1:] == most[-1]).all() and (least[:-1] == least[0]).all()
    assert least[0] == most[0] > most[-1]
    gain = {name: float(np.diff(area(found[0]))[0]) for name, found in curves.items()}
    expected = (most[0] - most[-1]) * 15 / 16
    assert gain["right"] == pytest.approx(expected)
    assert gain["reversed"] == pytest.approx(-expected)
    assert abs(gain["wrong"]) < expected


def test_an_image_s_curves_do_not_depend_on_the_others(net, pixels, maps):
    def curves(places):
        fills = fill_of(pixels[places], "blurred", PATCHES)
        ranks = {"a": patch_ranks(maps[places], PATCHES, 0)}
        return removal_curves(net, pixels[places], OUTPUTS[places], ranks, fills, 5, CPU)["a"]

    np.testing.assert_allclose(curves([0, 1, 2])[2], curves([2])[0], rtol=1e-5)


def test_ties_are_broken_by_chance():
    ranks = patch_ranks(np.zeros((200, SIZE, SIZE)), PATCHES, seed=0)
    assert (np.sort(ranks, axis=1) == np.arange(16)).all()
    assert np.abs(ranks.mean(axis=0) - 7.5).max() < 1.5


def test_patches_of_unequal_size_are_ranked_by_their_mean():
    numbers = patch_numbers(10, 4)
    assert sorted(np.bincount(numbers[0])) == [2, 2, 3, 3]
    maps = (numbers == 5)[None] * 1.0
    assert patch_ranks(maps, 4, 0)[0, 5] == 0
    assert (patch_ranks(np.arange(16)[numbers][None], 4, 0)[0] == np.arange(16)[::-1]).all()


def test_fills(pixels):
    mean = fill_of(pixels, "mean", PATCHES)
    np.testing.assert_allclose(mean[:, 3, 5], pixels.mean(axis=(1, 2)), rtol=1e-6)
    blurred = fill_of(pixels, "blurred", PATCHES)
    assert blurred.shape == pixels.shape and blurred.std() < pixels.std() / 5
    half = np.zeros((1, SIZE, SIZE), np.uint8)
    half[:, :, 16:] = 200
    blurred = fill_of(half, "blurred", PATCHES)[0]
    assert (blurred[:, 0] < 40).all() and (blurred[:, -1] > 160).all()


@pytest.fixture
def given(tmp_path, pixels, maps):
    """Arguments of the step, up to its settings: a net, images, maps, tables."""
    images = [f"{n}.png" for n in range(6)]
    table = pd.DataFrame({"image": images, "class": CLASSES * 2, "group": [0, 0, 1, 2, 3, 4]})
    save_images(tmp_path / "test.npy", np.concatenate([pixels, 255 - pixels]), table)
    np.savez(tmp_path / "maps.npz", grad_cam=np.concatenate([maps, maps]))
    explained = table.assign(method="grad_cam")
    explained.to_csv(tmp_path / "maps.csv", index=False)
    files = ("test.npy", "maps.npz", "maps.csv")
    return [save_start(tmp_path, "resnet18"), *(tmp_path / name for name in files)]


def test_the_step(given, tmp_path):
    written = [tmp_path / name for name in ("out.csv", "curves.csv", "figure.svg")]
    measure_faithfulness(*given, PATCHES, 5, 1, 0, *written)
    table, curves = pd.read_csv(written[0]), pd.read_csv(written[1])
    assert list(table.method.unique()) == ["grad_cam", "gaussian", "edges", "random"]
    assert (table.n == 3).all() and len(table) == 8
    gain = table.least_relevant_first - table.most_relevant_first
    np.testing.assert_allclose(table.difference, gain, atol=1e-12)
    assert table.filter(regex="_low|_high").isna().all(axis=None), "3 images"
    assert len(curves) == 4 * 2 * 2 * 6
    ends = curves[curves.removed.isin([0, 1])].groupby(["fill", "removed"]).sigmoid
    np.testing.assert_allclose(ends.max(), ends.min(), atol=1e-12)
    assert "Grad-CAM" in written[2].read_text()


def test_areas_have_the_intervals_of_means_by_group():
    """30 curves, each of two images of a patient; of the area that the curves enclose, too."""
    curves = np.random.default_rng(0).random((30, 2, 6)).repeat(2, axis=0)
    groups = np.arange(60) // 2
    row = areas_of({"mean": {"grad_cam": curves}}, groups, 0).iloc[0]
    gains = area(curves)[:, 1] - area(curves)[:, 0]
    expected = mean_interval(gains, groups, 0)
    assert (row.difference_low, row.difference_high) == expected
    once = mean_interval(gains[::2], groups[::2], 0)
    assert np.diff(expected) == pytest.approx(np.diff(once), rel=0.05)
    assert row.most_relevant_first_low < row.most_relevant_first < row.most_relevant_first_high


def test_maps_of_other_images_are_an_error(given):
    explained = pd.read_csv(given[3])
    with pytest.raises(InputError, match="maps by grad_cam are not of the test images"):
        read_maps(given[2], given[3], explained.image[::-1])
