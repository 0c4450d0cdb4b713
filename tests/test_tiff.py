"""TIFF files show the grey values they mean, or are refused or warned of."""

import io
import sys

import numpy as np
import pytest

tifffile = pytest.importorskip("tifffile")
pytest.importorskip("imagecodecs")
pytest.importorskip("kornia_rs")
from cxr.data.decoding import UnreadableImage, decode, grey_of
from PIL import Image

TRUTH = np.random.default_rng(0).integers(29, 244, (48, 40), dtype=np.uint8)
DEEP = TRUTH.astype(np.uint16) * 257
TWELVE = np.rint(TRUTH / 255 * 4095).astype(np.uint16)
OPAQUE = np.full_like(DEEP, 65535)


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def assert_shows(content, truth=TRUTH, warnings=(), most=1):
    picture = decode(content)
    difference = np.asarray(grey_of(picture)).astype(float) - truth
    assert np.abs(difference).mean() < most
    assert [warning.split(":")[0] for warning in picture.warnings] == list(warnings)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits"])
@pytest.mark.parametrize("tile", [None, (16, 16)])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_16_bits_however_stored(order, compression, tile, photometric):
    pixels = DEEP if photometric == "minisblack" else 65535 - DEEP
    layout = {"tile": tile} if tile else {"rowsperstrip": 7}
    content = tiff(
        pixels, byteorder=order, compression=compression, photometric=photometric, **layout
    )
    assert_shows(content)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_grey_and_alpha_of_16_bits(order, photometric, planar):
    pixels = DEEP if photometric == "minisblack" else 65535 - DEEP
    both = np.stack([pixels, OPAQUE], axis=-1 if planar == "contig" else 0)
    content = tiff(
        both, byteorder=order, photometric=photometric, planarconfig=planar,
        extrasamples=["unassalpha"],
    )  # fmt: skip
    assert_shows(content)


def test_colour_and_transparency_of_16_bits():
    assert_shows(tiff(np.dstack([DEEP] * 3), photometric="rgb"))
    half = np.dstack([DEEP] * 3 + [OPAQUE // 2])
    assert_shows(tiff(half, photometric="rgb", extrasamples=["unassalpha"]), TRUTH / 2)
    assert_shows(tiff(half, photometric="rgb", extrasamples=["assocalpha"]))


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_jpeg_in_tiff(photometric):
    smooth = np.add.outer(np.arange(48), np.arange(40)).astype(np.uint8) + 50
    pixels = smooth if photometric == "minisblack" else 255 - smooth
    assert_shows(tiff(pixels, compression="jpeg", photometric=photometric), smooth, most=2)


def packed(values):
    """The bytes of 12 bits a sample, two samples in three bytes."""
    first, second = values.ravel()[::2], values.ravel()[1::2]
    triples = [first >> 4, (first & 15) << 4 | second >> 8, second & 255]
    return np.stack(triples, axis=1).astype(np.uint8).tobytes()


def tiff_12_packed():
    tags = {256: 40, 257: 48, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 48, 279: 48 * 60}
    fields = b"".join(
        tag.to_bytes(2, "little") + b"\4\0\1\0\0\0" + value.to_bytes(4, "little")
        for tag, value in tags.items()
    )
    directory = len(tags).to_bytes(2, "little") + fields + bytes(4)
    return b"II*\0" + (8 + 48 * 60).to_bytes(4, "little") + packed(TWELVE) + directory


def test_12_bits():
    """Packed; in 16 bits by a tag, left-justified, or by a guess that is warned of."""
    assert_shows(tiff_12_packed())
    assert_shows(tiff(TWELVE << 4))
    assert_shows(tiff(TWELVE), warnings=["depth guessed"])
    by_tag = "grey range taken from MinSampleValue and MaxSampleValue"
    assert_shows(tiff(TWELVE, extratags=[(281, 3, 1, 4095, True)]), warnings=[by_tag])
    both = [(280, 3, 1, 1000, True), (281, 3, 1, 5095, True)]
    assert_shows(tiff(TWELVE + 1000, extratags=both), warnings=[by_tag])
    statistics = [(280, 3, 1, int(TWELVE.min()), True), (281, 3, 1, int(TWELVE.max()), True)]
    assert_shows(tiff(TWELVE, extratags=statistics), warnings=["depth guessed"])
    statistics = [(280, 3, 1, int(TRUTH.min()), True), (281, 3, 1, int(TRUTH.max()), True)]
    assert_shows(tiff(TRUTH, extratags=statistics))
    wrong = [(281, 3, 1, 255, True)]
    unused = "pixels are outside of MinSampleValue and MaxSampleValue, which were not used"
    assert_shows(tiff(DEEP, extratags=wrong), warnings=[unused])


def test_several_pages_and_a_damaged_pointer_to_the_next():
    several = "several pictures in the file, the first was read"
    assert_shows(tiff(np.stack([DEEP, OPAQUE]), photometric="minisblack"), warnings=[several])
    content = bytearray(tiff(TRUTH))
    place = int.from_bytes(content[4:8], "little")
    n_tags = int.from_bytes(content[place : place + 2], "little")
    end = place + 2 + 12 * n_tags
    content[end : end + 4] = b"\x00\x00\x00\x7f"
    assert_shows(bytes(content))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation(orientation):
    image = Image.fromarray(DEEP.astype(np.int32)).convert("F")
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    pixels = np.asarray(stored).astype(np.uint16)
    assert_shows(tiff(pixels, extratags=[(274, 3, 1, orientation, True)]))


def test_pages_of_implausible_size_are_refused(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 48 * 40 - 1)
    with pytest.raises(UnreadableImage, match="implausibly many pixels: 40 x 48"):
        decode(tiff(DEEP))


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
def test_a_cut_tiff_is_refused(compression):
    content = tiff(DEEP, compression=compression, rowsperstrip=7)
    for length in np.linspace(10, len(content) - 10, 30).astype(int):
        with pytest.raises(UnreadableImage):
            decode(content[:length])


def test_without_tifffile_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tifffile", None)
    with pytest.raises(UnreadableImage, match="pip install tifffile imagecodecs"):
        decode(tiff(TRUTH))
