"""Radiographs become grey pixels whatever they are stored as, or are refused with the reason."""

import io
import os
import struct
import zlib

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
pytest.importorskip("kornia_rs")
imagecodecs = pytest.importorskip("imagecodecs")
from cxr.data.decoding import UnreadableImage, decode, read_grey


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


# Metadata that decoders stop at

SMOOTH = np.add.outer(np.arange(48), np.arange(40)).astype(np.uint8) + 50
DEEP = SMOOTH.astype(np.uint16) * 257
TWELVE = np.rint(SMOOTH / 255 * 4095).astype(np.uint16)
LONG_TEXT = zlib.compress(bytes(5_000_000))


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"zTXt", b"x\0\0" + LONG_TEXT),
        (b"iCCP", b"x\0\0" + LONG_TEXT),
        (b"iTXt", b"odd"),
        (b"pHYs", b"odd"),
        (b"cHRM", b"odd"),
        (b"eXIf", b"II*\0\xff\xff\xff\xff"),
    ],
)
@pytest.mark.parametrize("mode", ["L", "P", "LA"])
def test_a_png_with_large_or_odd_metadata(kind, data, mode):
    content = stored(Image.fromarray(SMOOTH).convert(mode))
    found = np.asarray(read_grey(content[:33] + chunk(kind, data) + content[33:]))
    assert (found == SMOOTH).all()


def odd_exif(tags):
    """A JPEG's segment of EXIF: tags as (tag, type, count, 4 bytes)."""
    fields = b"".join(struct.pack("<HHI4s", *field) for field in tags)
    data = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + fields + bytes(4)
    return b"\xff\xe1" + struct.pack(">H", len(data) + 2) + data


TURNED = (0x0112, 3, 1, b"\6\0\0\0")
UNKNOWN = "Orientation is none of 1 to 8: the picture was not turned"
DAMAGED = "damaged metadata: it is not known whether the picture is upright"


@pytest.mark.parametrize(
    ("tags", "turned", "warnings"),
    [
        ([TURNED, (0x011A, 2, 4, b"ab1\0")], True, []),  # XResolution as text
        ([TURNED, (0x011A, 5, 1, b"\xff\xff\xff\x7f")], True, []),  # outside of the file
        ([TURNED, (0x8769, 2, 4, b"abc\0")], True, []),  # the pointer to EXIF's own tags
        ([(0x010F, 2, 99, b"\xff\xff\xff\x7f"), TURNED], True, []),  # the maker, outside, too
        ([(0x0112, 4, 1, b"\6\0\0\0")], True, []),
        ([(0x0112, 3, 1, b"\0\0\0\0")], False, []),
        ([(0x0112, 3, 1, b"\x09\0\0\0")], False, [UNKNOWN]),
        ([(0x0112, 2, 2, b"6\0\0\0")], False, [UNKNOWN]),
        ([(0x0112, 3, 2, b"\6\0\6\0")], True, []),
    ],
)
def test_a_jpeg_with_odd_exif(tags, turned, warnings):
    content = stored(Image.fromarray(SMOOTH), "JPEG", quality=95)
    expected = np.asarray(Image.open(io.BytesIO(content)))
    picture = decode(content[:20] + odd_exif(tags) + content[20:])
    assert (np.asarray(picture.image) == (np.rot90(expected, -1) if turned else expected)).all()
    assert picture.warnings == warnings


def test_exif_that_cannot_be_read_is_warned_of():
    content = stored(Image.fromarray(SMOOTH), "JPEG")
    exif = b"\xff\xe1\0\x12Exif\0\0no exif at"
    assert decode(content[:20] + exif + content[20:]).warnings == [DAMAGED]


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_cut_jpeg_with_an_end_is_warned_of(mode):
    noise = np.random.default_rng(0).integers(0, 256, (96, 96), dtype=np.uint8)
    content = stored(Image.fromarray(noise).convert(mode), "JPEG")
    assert decode(content).warnings == []
    (warning,) = decode(content[: len(content) // 2] + b"\xff\xd9").warnings
    assert warning == "the lowest rows are one grey: the JPEG may be cut short"


@pytest.mark.parametrize("mode", ["L", "P"])
def test_several_pictures_in_a_png_are_warned_of(mode):
    pages = [Image.fromarray(255 - SMOOTH).convert(mode)]
    content = stored(Image.fromarray(SMOOTH).convert(mode), save_all=True, append_images=pages)
    picture = decode(content)
    assert (np.asarray(picture.image.convert("L")) == SMOOTH).all()
    assert picture.warnings == ["several pictures in the file, the first was read"]


def test_orientation_of_xmp():
    content = stored(Image.fromarray(SMOOTH), "JPEG")
    xmp = b'http://ns.adobe.com/xap/1.0/\0<rdf tiff:Orientation="3"/>'
    segment = b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp
    expected = np.asarray(Image.open(io.BytesIO(content)))[::-1, ::-1]
    assert (np.asarray(read_grey(content[:20] + segment + content[20:])) == expected).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_every_orientation_is_pillow_s(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = stored(Image.fromarray(SMOOTH), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    assert (np.asarray(read_grey(content)) == np.asarray(expected)).all()


# More than 8 bits


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_16_bits_with_colour_or_alpha(channels):
    opaque = np.full_like(DEEP, 65535)
    for grey, warnings in ((DEEP, 0), (TWELVE, 1)):
        planes = [grey] * (channels - 1) + [opaque if channels % 2 == 0 else grey]
        picture = decode(imagecodecs.png_encode(np.dstack(planes)))
        assert np.abs(np.asarray(picture.image.convert("L")).astype(int) - SMOOTH).max() <= 1
        assert len(picture.warnings) == warnings


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_the_depth_of_content_in_16_bits_is_guessed_and_warned_of(bits):
    values = np.rint(SMOOTH / 255 * ((1 << bits) - 1)).astype(np.uint16)
    values[0, 0] = (1 << bits) - 1
    picture = decode(stored(Image.fromarray(values)))
    assert np.abs(np.asarray(picture.image).astype(int) - SMOOTH)[1:].max() <= 1
    (warning,) = picture.warnings
    assert warning == f"depth guessed: values reach {(1 << bits) - 1} of 65535, read as {bits} bits"


@pytest.mark.parametrize(
    "content",
    [
        imagecodecs.ljpeg_encode(DEEP, bitspersample=16),
        imagecodecs.jpeg8_encode(TWELVE, bitspersample=12, level=98),
    ],
    ids=["lossless", "12 bits"],
)
def test_jpeg_of_more_than_8_bits(content):
    picture = decode(content)
    assert np.abs(np.asarray(picture.image).astype(int) - SMOOTH).mean() < 1
    assert picture.warnings == [] and picture.mode == "I;16"


def interlaced(values):
    """A grey PNG of 16 bits in Adam7's order, which Pillow does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
    raw = b""
    for x, y, dx, dy in (*passes, (0, 1, 1, 2)):
        raw += b"".join(b"\0" + row.astype(">u2").tobytes() for row in values[y::dy, x::dx])
    height, width = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 1)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(raw)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*parts) for parts in chunks)


def test_an_interlaced_png():
    assert (np.asarray(read_grey(interlaced(DEEP))) == SMOOTH).all()


def test_formats_that_start_other_programs_are_no_images():
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\n"
    with pytest.raises(UnreadableImage, match="the file is no image"):
        read_grey(eps)
