"""DICOM files show the grey values that a viewer shows, or are refused or warned of."""

import io
import zlib

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
imagecodecs = pytest.importorskip("imagecodecs")
pytest.importorskip("kornia_rs")
pytest.importorskip("libjpeg")
from cxr.data import dicom
from cxr.data.dicom import is_dicom, read_dicom
from cxr.data.pixels import UnreadableImage
from pydicom import uid

TRUTH = np.random.default_rng(0).integers(29, 244, (48, 40), dtype=np.uint8)
TRUTH[0, :2] = 29, 243
DEEP = TRUTH.astype(np.uint16) * 257
TWELVE = np.rint(TRUTH / 255 * 4095).astype(np.uint16)
SIGNED = (TWELVE.astype(np.int32) - 2048).astype(np.int16)
WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}
WINDOW_16 = {"WindowCenter": 32768, "WindowWidth": 65536}
GUESSED = "no window in the file: the grey range was taken from the pixels"


def file_of(pixels, syntax=uid.ExplicitVRLittleEndian, code=None, **elements):
    """The bytes of a radiograph; code: its pixels compressed."""
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = uid.DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    bits = elements.pop("bits", 8 * pixels.itemsize)
    described = {
        "Modality": "DX", "ViewPosition": "PA", "Rows": 48, "Columns": 40, "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 8 * pixels.itemsize,
        "BitsStored": bits, "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }  # fmt: skip
    for name, value in (described | elements).items():
        setattr(dataset, name, value)
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    native = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = pydicom.encaps.encapsulate([code]) if code else native
    dataset["PixelData"].VR = "OB" if code else "OW"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def assert_shows(content, truth=TRUTH, warnings=()):
    image, found = read_dicom(content)
    assert np.abs(np.asarray(image).astype(float) - truth).mean() < 1
    assert found == list(warnings)


def table(entries, first, bits, packed=False, vr="OW"):
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(entries) % 65536, first, bits]
    item["LUTDescriptor"].VR = "US"
    words = np.frombuffer(np.asarray(entries, "u1" if packed else "<u2").tobytes(), "<u2")
    item.add_new("LUTData", vr, words.tobytes() if vr == "OW" else words.tolist())
    return [item]


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    ],
)
def test_native_syntaxes(syntax):
    assert_shows(file_of(TWELVE, syntax, bits=12, **WINDOW))


CODES = {
    "lossless": (imagecodecs.ljpeg_encode(DEEP, bitspersample=16), uid.JPEGLossless),
    "lossless SV1": (imagecodecs.ljpeg_encode(DEEP, bitspersample=16), uid.JPEGLosslessSV1),
    "JPEG-LS": (imagecodecs.jpegls_encode(DEEP), uid.JPEGLSLossless),
    "2000": (imagecodecs.jpeg2k_encode(DEEP, codecformat="j2k", reversible=True), uid.JPEG2000),
}


@pytest.mark.parametrize("name", CODES)
def test_compressed_syntaxes(name):
    code, syntax = CODES[name]
    assert_shows(file_of(DEEP, syntax, code, **WINDOW_16))
    with pytest.raises(UnreadableImage, match="cut short"):
        read_dicom(file_of(DEEP, syntax, code[: len(code) // 2], **WINDOW_16))
    with pytest.raises(UnreadableImage, match="40 x 48 pixels in the code, 40 x 50 by the"):
        read_dicom(file_of(DEEP, syntax, code, Rows=50, **WINDOW_16))


def test_the_code_is_believed_where_the_syntax_is_wrong():
    code, _ = CODES["2000"]
    image, found = read_dicom(file_of(DEEP, uid.JPEGLosslessSV1, code, **WINDOW_16))
    assert (np.asarray(image) == TRUTH).all()
    assert found == [
        "TransferSyntaxUID is wrong: the pixels are stored as JPEG 2000 Image Compression"
    ]


def test_run_lengths():
    dataset = pydicom.dcmread(io.BytesIO(file_of(DEEP, **WINDOW_16)))
    dataset.compress(uid.RLELossless)
    buffer = io.BytesIO()
    dataset.save_as(buffer)
    assert_shows(buffer.getvalue())


def test_without_preamble_and_without_header():
    content = file_of(TWELVE, uid.ImplicitVRLittleEndian, bits=12, **WINDOW)
    assert_shows(content[132:])
    start = 144 + int.from_bytes(content[140:144], "little")
    bare = content[start:]
    assert is_dicom(content) and is_dicom(content[132:]) and is_dicom(bare)
    assert_shows(bare)


def test_with_the_mark_a_transfer_syntax_is_needed():
    content = file_of(TWELVE, bits=12, **WINDOW)
    start = 144 + int.from_bytes(content[140:144], "little")
    with pytest.raises(UnreadableImage, match="without a transfer syntax"):
        read_dicom(content[:132] + content[start:])


@pytest.mark.parametrize(
    "name", ["RescaleSlope", "RescaleIntercept", "VOILUTFunction", "WindowCenter", "WindowWidth"]
)
def test_an_empty_element_is_one_that_is_not_there(name):
    elements = WINDOW | {"RescaleSlope": 1, "RescaleIntercept": 0, name: ""}
    warnings = [GUESSED] if name.startswith("Window") else []
    assert_shows(file_of(TWELVE, bits=12, **elements), warnings=warnings)


def test_windows_of_any_size_and_function():
    wide = {"RescaleSlope": 1e6, "RescaleIntercept": 5e9, "WindowWidth": 4096e6}
    wide["WindowCenter"] = 2048e6 + 5e9
    for function in ("LINEAR", "LINEAR_EXACT"):
        assert_shows(file_of(TWELVE, bits=12, VOILUTFunction=function, **wide))
    curve = 255 / (1 + np.exp(-4 * (TWELVE - 2048.0) / 4096))
    assert_shows(file_of(TWELVE, bits=12, VOILUTFunction="SIGMOID", **WINDOW), curve)


@pytest.mark.parametrize("window", [{}, WINDOW])
@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("meaning", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black_and_no_part_of_the_range(window, bits, syntax, value, meaning):
    pixels, truth = TWELVE if meaning == "MONOCHROME2" else 4095 - TWELVE, TRUTH.copy()
    pixels, truth[:8] = pixels.copy(), 0
    pixels[:8] = value
    content = file_of(
        pixels, syntax, bits=bits, PhotometricInterpretation=meaning, PixelPaddingValue=value,
        **window,
    )  # fmt: skip
    assert_shows(content, truth, [] if window else [GUESSED])


@pytest.mark.parametrize("value", [-32768, -4000, -2048])
@pytest.mark.parametrize("bits", [12, 16])
def test_padding_of_signed_pixels(value, bits):
    pixels, truth = SIGNED.copy(), TRUTH.copy()
    pixels[:8], truth[:8] = value, 0
    assert_shows(file_of(pixels, bits=bits, PixelPaddingValue=value), truth, [GUESSED])


def test_a_range_of_padding_and_nothing_but_padding():
    pixels, truth = TWELVE.copy(), TRUTH.copy()
    pixels[:8], truth[:8] = 63000, 0
    limits = {"PixelPaddingValue": 65535, "PixelPaddingRangeLimit": 60000}
    assert_shows(file_of(pixels, **limits), truth, [GUESSED])
    pixels[:] = 65535
    with pytest.raises(UnreadableImage, match="all pixels are padding"):
        read_dicom(file_of(pixels, **limits))


def test_pixels_in_the_upper_bits():
    assert_shows(file_of(TWELVE << 4, bits=12, HighBit=15, **WINDOW))
    said = "pixels are in the upper bits, other than HighBit says, and were read so"
    assert_shows(file_of(TWELVE << 4, bits=12, **WINDOW), warnings=[said])
    left = (SIGNED << 4).astype(np.int16)
    assert_shows(file_of(left, bits=12, HighBit=15, WindowCenter=0, WindowWidth=4096))
    said = "pixels have more bits than BitsStored says, which were left out"
    overlay = (np.arange(TWELVE.size).reshape(TWELVE.shape) % 2 << 13).astype(np.uint16)
    assert_shows(file_of(TWELVE | overlay, bits=12, **WINDOW), warnings=[said])
    said = "pixels have more bits than BitsStored says, read as 16 bits"
    assert_shows(file_of(DEEP, bits=12, **WINDOW_16), warnings=[said])


def test_without_a_window_the_depth_counts_where_pixels_fill_it():
    assert_shows(file_of(TWELVE), warnings=[GUESSED])
    assert_shows(file_of(TRUTH), warnings=[GUESSED])
    narrow = TRUTH.astype(np.uint16) + 3000
    stretched = (TRUTH - 29.0) / (243 - 29) * 255
    assert_shows(file_of(narrow), stretched, [GUESSED])
    inverse = {"RescaleSlope": -1, "RescaleIntercept": 4095}
    assert_shows(file_of(TWELVE, bits=12, **inverse), 255 - TRUTH.astype(int), [GUESSED])


DISAGREE = "LUT: depth and entries disagree, the range of the entries was taken"


@pytest.mark.parametrize("vr", ["OW", "US"])
def test_look_up_tables(vr):
    identity = np.arange(4096)
    for bits in (8, 12, 16):
        content = file_of(TWELVE, bits=12, VOILUTSequence=table(identity, 0, bits, vr=vr))
        assert_shows(content, warnings=[f"VOI {DISAGREE}"] if bits != 12 else [])
    for packed in (True, False):
        lut = table(identity >> 4, 0, 8, packed, vr)
        assert_shows(file_of(TWELVE, bits=12, VOILUTSequence=lut))
        window = {"WindowCenter": 128, "WindowWidth": 256}
        assert_shows(file_of(TWELVE, bits=12, ModalityLUTSequence=lut, **window))
    modality = table(identity, 0, 12, vr=vr)
    assert_shows(file_of(TWELVE, bits=12, ModalityLUTSequence=modality, **WINDOW))
    assert_shows(file_of(TWELVE, bits=12, ModalityLUTSequence=modality), warnings=[GUESSED])
    below_zero = table(identity, 65536 - 2048, 12, vr=vr)
    assert_shows(file_of(SIGNED, bits=12, VOILUTSequence=below_zero))


def test_a_table_without_all_its_entries_is_refused():
    lut = table(np.arange(1000), 0, 12)
    lut[0].LUTDescriptor = [4096, 0, 12]
    with pytest.raises(UnreadableImage, match="1000 entries; its descriptor says 4096"):
        read_dicom(file_of(TWELVE, bits=12, VOILUTSequence=lut))


def test_implausible_sizes_are_refused_before_decoding(monkeypatch):
    with pytest.raises(UnreadableImage, match="implausibly many pixels: 60000 x 60000"):
        read_dicom(file_of(TWELVE, Rows=60000, Columns=60000))
    monkeypatch.setattr(dicom, "MOST_BYTES", 1 << 20)
    content = file_of(TWELVE, uid.DeflatedExplicitVRLittleEndian)
    start = 144 + int.from_bytes(content[140:144], "little")
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = deflate.compress(bytes(1 << 21)) + deflate.flush()
    with pytest.raises(UnreadableImage, match="implausibly many for a radiograph"):
        read_dicom(content[:start] + bomb)
