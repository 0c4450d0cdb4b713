"""8 and 72 variants, the same for an image wherever and with whatever it is augmented."""

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pd = pytest.importorskip("pandas")
from augment import augment
from cxr.data.augmentation import Variant, apply_variants, draw_variants
from cxr.data.image_sets import save_images

LIMITS = (40, 11, 8)


@pytest.mark.parametrize(("amount", "variants"), [(2, 8), (6, 72)])
def test_the_paper_s_numbers_of_variants(amount, variants):
    drawn = draw_variants("a.png", 0, amount, amount, LIMITS, include_original=True)
    assert len(drawn) == variants
    assert drawn[0] == Variant(0, 0, 0, False)
    assert drawn[1] == Variant(0, 0, 0, True)
    assert all(
        abs(v.rotation_degrees) <= 40 and abs(v.shift_x) <= 11 and abs(v.shift_y) <= 8
        for v in drawn
    )
    assert len({v.rotation_degrees for v in drawn}) == amount


def test_without_the_untouched_one_every_rotation_turns():
    drawn = draw_variants("a.png", 0, 6, 6, LIMITS, include_original=False)
    assert all(variant.rotation_degrees for variant in drawn)


def test_variants_follow_from_seed_and_name():
    first = draw_variants("a.png", 0, 6, 6, LIMITS, True)
    assert first == draw_variants("a.png", 0, 6, 6, LIMITS, True)
    assert first != draw_variants("b.png", 0, 6, 6, LIMITS, True)
    assert first != draw_variants("a.png", 1, 6, 6, LIMITS, True)


def apply_variant(pixels, variant, fill):
    return next(apply_variants(pixels, [variant], fill))


def test_variants_are_pil_s_one_by_one():
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    variants = draw_variants("a.png", 0, 6, 6, LIMITS, include_original=True)
    for variant, found in zip(variants, apply_variants(pixels, variants, 9), strict=True):
        image = Image.fromarray(pixels).rotate(
            variant.rotation_degrees, Image.Resampling.BILINEAR, fillcolor=9
        )
        moved = Image.new("L", image.size, 9)
        moved.paste(image, (variant.shift_x, variant.shift_y))
        if variant.flipped:
            moved = moved.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        assert (found == np.asarray(moved)).all(), variant


def test_shift_and_flip_move_pixels_where_they_say():
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[1, 2] = 255
    moved = apply_variant(pixels, Variant(0.0, 3, 2, False), fill=0)
    assert np.argwhere(moved).tolist() == [[3, 5]]
    flipped = apply_variant(pixels, Variant(0.0, 0, 0, True), fill=0)
    assert np.argwhere(flipped).tolist() == [[1, 5]]


def test_opened_borders_get_the_fill():
    white = np.full((16, 16), 255, dtype=np.uint8)
    moved = apply_variant(white, Variant(0.0, 4, 0, False), fill=7)
    assert (moved[:, :4] == 7).all()
    assert (moved[:, 4:] == 255).all()
    assert apply_variant(white, Variant(40.0, 0, 0, False), fill=0)[0, 0] == 0


@pytest.fixture
def images(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    table = pd.DataFrame({"image": list("abc"), "class": ["normal", "viral_pneumonia", "covid19"]})
    save_images(tmp_path / "all.npy", pixels, table)
    save_images(tmp_path / "one.npy", pixels[2:], table[2:])
    return tmp_path


def run(images, out):
    numbers = {"normal": 2, "viral_pneumonia": 2, "covid19": 6}
    augment(images, out, numbers, numbers, LIMITS, include_original=True, fill=0, seed=0)
    return np.load(out), pd.read_csv(out.with_suffix(".csv"))


def test_classes_get_8_8_and_72(images):
    pixels, table = run(images / "all.npy", images / "out.npy")
    assert pixels.shape == (88, 32, 32)
    assert pixels.dtype == np.uint8
    assert table["class"].value_counts().to_dict() == {
        "covid19": 72,
        "normal": 8,
        "viral_pneumonia": 8,
    }


def test_an_image_s_variants_don_t_depend_on_the_others(images):
    together, _ = run(images / "all.npy", images / "out.npy")
    alone, _ = run(images / "one.npy", images / "alone.npy")
    assert (together[16:] == alone).all()
