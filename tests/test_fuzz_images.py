"""Damaged pictures and DICOM files: no traceback, no hang, no lost row."""

import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("kornia_rs")
tifffile = pytest.importorskip("tifffile")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("imagehash")
from inspect_covid19 import describe
from mutations import mutations
from PIL import Image
from predict_images import read_batch
from pydicom import uid
from test_dicom import CODES, DEEP, TRUTH, TWELVE, WINDOW, WINDOW_16, file_of, table

N = 42  # mutations of each file


def saved(kind, image, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, pixels, **options)
    return buffer.getvalue()


def exif():
    tags = Image.Exif()
    tags[0x0112], tags[0x011A] = 6, 72.0  # Orientation, XResolution
    return tags


GREY = Image.fromarray(TRUTH)
VOI = table(np.arange(4096), 0, 16)
FILES = {
    "a.png": saved("PNG", GREY, exif=exif()),
    "alpha.png": imagecodecs.png_encode(np.dstack([DEEP, DEEP])),
    "palette.png": saved("PNG", GREY.convert("P"), transparency=3),
    "a.jpg": saved("JPEG", GREY, exif=exif()),
    "colour.jpg": saved("JPEG", GREY.convert("RGB"), progressive=True),
    "a.tif": tiff(TRUTH),
    "white.tif": tiff(65535 - DEEP, photometric="miniswhite", compression="lzw", byteorder=">"),
    "tiles.tif": tiff(DEEP, compression="deflate", tile=(16, 16)),
    "jpeg.tif": tiff(TRUTH, compression="jpeg"),
    "a.dcm": file_of(TWELVE, bits=12, PixelPaddingValue=65535, VOILUTSequence=VOI),
    "implicit.dcm": file_of(TWELVE, uid.ImplicitVRLittleEndian, bits=12, **WINDOW)[132:],
    "lossless.dcm": file_of(DEEP, CODES["lossless"][1], CODES["lossless"][0], **WINDOW_16),
    "2000.dcm": file_of(DEEP, CODES["2000"][1], CODES["2000"][0], **WINDOW_16),
}


@pytest.mark.parametrize("name", FILES)
def test_every_damaged_file_has_its_row(tmp_path, capfd, name):
    name, paths = Path(name), []
    for number, content in enumerate(mutations(FILES[str(name)], N, seed=1)):
        paths.append(tmp_path / f"{number}{name.suffix}")
        paths[-1].write_bytes(content)
    rows, pixels = read_batch(paths, [64], {})
    reasons = [row["error"] for row in rows]
    assert [row["file"] for row in rows] == [str(path) for path in paths]
    assert len(pixels.get(64, ())) == reasons.count(None) < N
    if name.suffix != ".dcm":
        reasons += [describe(path)["reason"] for path in paths]
    assert all(reason != "" or reason is None for reason in reasons[:N])
    assert not any("\n" in (reason or "") for reason in reasons)
    assert not any("defect" in (reason or "") for reason in reasons)
    assert "Traceback" not in capfd.readouterr().err


def test_undamaged_files_are_read(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    rows, _ = read_batch([tmp_path / name for name in FILES], [64], {})
    assert [row["error"] for row in rows] == [None] * len(FILES)
