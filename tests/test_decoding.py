"""Radiographs become grey pixels whatever they are stored as, or are refused with the reason."""

import io
import os
import struct
import zlib

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("kornia_rs")
from cxr.decoding import UnreadableImage, read_grey  # noqa: E402


def stored(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture
def grey():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 40), dtype=np.uint8))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_in_any_mode_reads_the_same(grey, mode, kind):
    image = grey.convert(mode)
    assert (np.asarray(read_grey(stored(image, kind))) == np.asarray(grey)).all()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_colour_that_stands_for_transparent_is_that_colour(grey, mode):
    key = 7 if mode == "L" else (7, 7, 7)
    content = stored(grey.convert(mode), transparency=key)
    assert (np.asarray(read_grey(content)) == np.asarray(grey)).all()


def test_bits_are_grey_values_of_their_share(grey):
    two_bits = np.asarray(grey) // 64
    content = png_of_bits(two_bits, 2)
    assert (np.asarray(read_grey(content)) == two_bits * 85).all()
    assert (np.asarray(Image.open(io.BytesIO(content)).convert("L")) == two_bits * 85).all()


def png_of_bits(values, depth):
    """A grey PNG of fewer than 8 bits a pixel, which PIL does not write."""
    height, width = values.shape
    per_byte = 8 // depth
    shifts = depth * np.arange(per_byte - 1, -1, -1)
    rows = (values.reshape(height, -1, per_byte) << shifts).sum(axis=2).astype(np.uint8)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + sum_of(kind + content)


def sum_of(content):
    return struct.pack(">I", zlib.crc32(content))


def test_16_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 48 * 40).astype(np.uint16).reshape(48, 40)
    found = np.asarray(read_grey(stored(Image.fromarray(ramp))))
    assert (found == np.round(ramp / 257)).all()


def test_cmyk_jpeg_is_near_the_grey_it_was(grey):
    smooth = grey.resize((8, 8)).resize((80, 80), Image.Resampling.BILINEAR)
    content = stored(smooth.convert("RGB").convert("CMYK"), "JPEG", quality=95)
    difference = np.asarray(read_grey(content)).astype(int) - np.asarray(smooth)
    assert np.abs(difference).max() <= 4


def test_exif_orientation_is_applied(grey):
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: to be turned by 90 degrees clockwise
    for kind in ("PNG", "TIFF"):
        found = np.asarray(read_grey(stored(grey, kind, exif=exif)))
        assert (found == np.rot90(np.asarray(grey), -1)).all(), kind
    photograph = read_grey(stored(grey, "JPEG", exif=exif))
    assert photograph.size == grey.size[::-1]


def test_transparent_pixels_are_black(grey):
    transparent = grey.convert("RGBA")
    transparent.putalpha(0)
    assert not np.asarray(read_grey(stored(transparent))).any()


def test_names_with_blanks_and_other_alphabets(grey, tmp_path):
    path = tmp_path / "Röntgen 胸部 (1).png"
    grey.save(path)
    assert (np.asarray(read_grey(path)) == np.asarray(grey)).all()


def grey_png(data):
    """The PNG of 40 x 40 grey pixels whose sums are right, whatever its data are."""
    header = struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def huge():
    """The PNG of a picture that says it has 100,000 x 100,000 pixels."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunks = (("IHDR", header), ("IDAT", zlib.compress(b"\0" * 100)), ("IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind.encode(), text) for kind, text in chunks)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"no image", "the file is no image"),
        (b"\x89PNG\r\n\x1a\n cut short", "cut short"),
        (stored(Image.new("L", (1, 1))), "1 x 1 pixels"),
        (grey_png(b"not deflated"), "no whole image"),
        (grey_png(zlib.compress(b"too few")), "no whole image"),
        (huge(), "implausibly many pixels"),
        (stored(Image.new("F", (40, 40)), "TIFF"), "floating-point"),
        (stored(Image.new("I", (40, 40), 1 << 20), "TIFF"), "32 bits"),
    ],
    ids=["empty", "text", "header", "tiny", "data", "too few", "bomb", "float", "32 bits"],
)
def test_what_is_no_radiograph_is_refused_with_the_reason(content, reason):
    with pytest.raises(UnreadableImage, match=reason):
        read_grey(content)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_truncated_image_is_refused(grey, kind):
    content = stored(grey, kind)
    for length in np.linspace(10, len(content) - 10, 40).astype(int):
        with pytest.raises(UnreadableImage):
            read_grey(content[:length])


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_damaged_png_never_slips_through(grey, mode):
    content = stored(grey.convert(mode))
    rng = np.random.default_rng(1)
    for place in rng.integers(0, len(content), 200):
        damaged = bytearray(content)
        damaged[place] ^= 1 << rng.integers(8)
        with pytest.raises(UnreadableImage):
            read_grey(bytes(damaged))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "GIF", "BMP"])
def test_a_damaged_file_is_read_or_refused_without_another_error(grey, kind):
    content = stored(grey, kind)
    rng = np.random.default_rng(2)
    for place in rng.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] = rng.integers(256)
        try:
            assert read_grey(bytes(damaged)).mode == "L"
        except UnreadableImage:
            pass


def test_a_file_without_permission_is_refused_with_the_reason(grey, tmp_path):
    path = tmp_path / "secret.png"
    grey.save(path)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:  # who may read everything
        tmp_path.parent.chmod(0o755)
        tmp_path.chmod(0o755)
        os.seteuid(65534)
    try:
        with pytest.raises(UnreadableImage, match="permission denied"):
            read_grey(path)
    finally:
        if root:
            os.seteuid(0)


def test_a_missing_file_is_another_matter(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_grey(tmp_path / "gone.png")
