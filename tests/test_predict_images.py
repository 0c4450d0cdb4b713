"""Predictions of a user's own X-rays are those of the workflow, whatever they are stored as."""

import csv
import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
import predict_images as script
import yaml
from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.data import user_images
from cxr.data.decoding import read_grey
from cxr.data.image_sets import open_by_class, save_images
from cxr.data.images import to_square
from cxr.nets import onnx_export
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net, save_net
from PIL import Image
from predict_images import predict_images
from small_trainings import CLASSES, CPU, new_net
from studies import ROOT

SIZE = 64
PATIENT = "Muster^Erika"
# Runs the script as where no PyTorch is installed.
WITHOUT_TORCH = """
import os, runpy, sys
sys.modules["torch"] = None
sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def publish(folder, architecture="resnet18", seed=0, size=SIZE, onnx=True):
    """The files of publish_net that are needed, for a new net."""
    folder.mkdir(parents=True)
    description = {"architecture": architecture, "outputs": CLASSES, "image_size": size}
    net = new_net(architecture, seed).eval()
    save_net(folder / "model.safetensors", net, description)
    if onnx:
        onnx_export.export(net, description, folder / "model.onnx")
    sums = {path.name: sha256_of(path) for path in folder.glob("model.*")}
    (folder / "model.json").write_text(json.dumps(description | {"sha256": sums}))
    return folder


def calibrate(net, temperature):
    text = f"calibration,temperature,fitted\nbefore,1.0,False\nafter,{temperature},True\n"
    (net / "calibration.csv").write_text(text)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("results") / "netC")


def chest(height=90, width=100, seed=0):
    """What a chest X-ray is to the rules: a bright body with dark lungs, uint8 (h, w)."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    pixels = np.where(x**2 + (y - 0.3) ** 2 < 0.9, 180, 10)
    for side in (-0.45, 0.45):
        pixels[((x - side) / 0.3) ** 2 + (y / 0.6) ** 2 < 1] = 60
    noise = np.random.default_rng(seed).integers(-10, 10, pixels.shape)
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def save(path, pixels=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(chest() if pixels is None else pixels).save(path, **options)
    return path


def run(given, net, out, **options):
    """Predict without heatmaps: rows of the JSON by file."""
    predict_images(given, net, out, **{"heatmaps": False} | options)
    rows = json.loads((out / "predictions.json").read_text())["images"]
    return {row["file"]: row for row in rows}


def command(*words, blocked=False):
    start = ["-c", WITHOUT_TORCH] if blocked else []
    return subprocess.run(
        [sys.executable, *start, script.__file__, *words], capture_output=True, text=True
    )


def test_sigmoids_are_the_workflows(net, tmp_path):
    """Of 20 images, more than a batch, prepared as prepare_covid19 does."""
    files = [save(tmp_path / f"{seed}.png", chest(seed=seed)) for seed in range(20)]
    squares = np.stack([to_square(read_grey(path), SIZE) for path in files])
    table = {"image": [path.name for path in files], "class": CLASSES[:1] * 20}
    save_images(tmp_path / "prepared.npy", squares, pd.DataFrame(table))
    loaded, _ = load_net(net / "model.safetensors")
    data = open_by_class(tmp_path / "prepared.npy", CLASSES)
    expected = predict_logits(loaded, data, CPU)
    rows = run(files, net, tmp_path / "out", backend="torch")
    found = np.array([list(rows[str(path)]["sigmoids"].values()) for path in files])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-expected)), atol=1e-6)
    decisions = [rows[str(path)]["decision"] for path in files]
    assert decisions == [CLASSES[number] for number in expected.argmax(axis=1)]


def test_backends_agree(net, tmp_path, capsys):
    path = save(tmp_path / "a.png")
    rows = [
        run([path], net, tmp_path / name, backend=name, heatmaps=True)[str(path)]
        for name in ("torch", "onnxruntime")
    ]
    for output in CLASSES:
        assert rows[0]["sigmoids"][output] == pytest.approx(rows[1]["sigmoids"][output], abs=1e-4)
    assert rows[0]["heatmap"] == "heatmaps/a.png" and rows[1]["heatmap"] is None
    assert (tmp_path / "torch" / "heatmaps" / "a.png").stat().st_size > 1000
    assert capsys.readouterr().err.count("no heatmaps: they need PyTorch") == 1


def test_onnxruntime_alone_is_enough(net, tmp_path):
    path, out = save(tmp_path / "a.png"), tmp_path / "out"
    done = command(path, "--net", net, "--out", out, blocked=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[0] == script.NOTE
    record = json.loads((out / "predictions.json").read_text())
    assert record["backend"] == "onnxruntime" and record["note"] == script.NOTE
    assert not (out / "heatmaps").exists()
    done = command(path, "--net", net, "--out", out, "--backend", "torch", blocked=True)
    assert done.returncode == 1 and "error: the net can't be run: torch: " in done.stderr


def test_help_says_what_it_is_not():
    assert script.NOTE.lower() in command("--help").stdout.lower()


def test_table_and_record_say_the_same(net, tmp_path):
    path, out = save(tmp_path / "a.png", chest(40, 40)), tmp_path / "out"
    row = run([path], net, out)[str(path)]
    with open(out / "predictions.csv", newline="") as file:
        (line,) = csv.DictReader(file)
    assert list(line) == [
        "file", *CLASSES, *(f"calibrated_{name}" for name in CLASSES),
        "decision", "warnings", "error", "heatmap",
    ]  # fmt: skip
    assert {name: float(line[name]) for name in CLASSES} == row["sigmoids"]
    assert line["decision"] == row["decision"]
    assert line["warnings"] == "; ".join(row["warnings"]) != ""
    assert line["calibrated_covid19"] == line["error"] == ""


@pytest.mark.parametrize("fitted", [True, False])
def test_calibrated_values(tmp_path, fitted):
    net = publish(tmp_path / "netC")
    text = f"calibration,temperature,fitted\nbefore,1.0,False\nafter,2.0,{fitted}\n"
    (net / "calibration.csv").write_text(text)
    path = save(tmp_path / "a.png")
    row = run([path], net, tmp_path / "out")[str(path)]
    if not fitted:
        assert row["calibrated"] is None
        return
    for output, sigmoid in row["sigmoids"].items():
        expected = 1 / (1 + np.exp(-np.log(sigmoid / (1 - sigmoid)) / 2))
        assert row["calibrated"][output] == pytest.approx(expected)


def test_bad_files_do_not_stop_others(net, tmp_path, capsys):
    good = save(tmp_path / "good.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:-50])
    words = tmp_path / "words.jpg"
    words.write_text("no image")
    rows = run([cut, tmp_path / "missing.png", words, good], net, tmp_path / "out")
    errors = [row["error"] for row in rows.values()]
    assert errors == [
        "the PNG is cut short", "No such file or directory", "the file is no image", None
    ]  # fmt: skip
    assert rows[str(cut)]["decision"] is None and rows[str(good)]["decision"] in CLASSES
    printed = capsys.readouterr().err
    assert f"3 of 4 images can't be read, first {cut}: the PNG is cut short" in printed


def test_a_defect_of_ours_keeps_its_traceback_and_the_other_rows(
    net, tmp_path, monkeypatch, capsys
):
    good, bad = save(tmp_path / "good.png"), save(tmp_path / "bad.png", chest(91, 100))
    quality_warnings = user_images.quality_warnings
    monkeypatch.setattr(
        user_images,
        "quality_warnings",
        lambda grey, pixels: quality_warnings(grey, pixels if grey.height == 90 else None),
    )
    rows = run([bad, good], net, tmp_path / "out")
    assert rows[str(bad)]["error"] == "defect of this program: TypeError, see its log"
    assert rows[str(good)]["decision"] in CLASSES
    assert "Traceback" in capsys.readouterr().err


def test_pipes_are_not_opened_and_masks_are_no_radiographs(net, tmp_path, capsys):
    xrays, elsewhere = tmp_path / "xrays", tmp_path / "elsewhere"
    save(xrays / "images/a.png")
    save(xrays / "masks/a.png")
    save(elsewhere / "b.png")
    os.mkfifo(xrays / "pipe.png")
    (xrays / "link").symlink_to(elsewhere)
    rows = run([xrays, xrays / "pipe.png"], net, tmp_path / "out")
    assert {file: row["error"] for file, row in rows.items()} == {
        str(xrays / "images/a.png"): None,
        str(xrays / "link/b.png"): None,
        str(xrays / "pipe.png"): "no file, but a pipe, socket or device",
    }
    said = capsys.readouterr().err
    assert "1 files in folders skipped: in folders of masks" in said
    assert "1 files in folders skipped: no files, but pipes, sockets or devices" in said


def test_nothing_predicted_is_one_line(net, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for given, message in (
        (bad, f"1 of 1 images can't be read, first {bad}: the file is empty"),
        (tmp_path / "empty", f"no image in {tmp_path / 'empty'}"),
    ):
        done = command(given, "--net", net, "--out", tmp_path / "out", "--backend", "onnxruntime")
        assert done.returncode == 1
        lines = [line for line in done.stderr.splitlines() if not line.startswith("no heatmaps")]
        assert lines == [script.NOTE, f"error: {message}"]


def test_folders_are_searched_and_names_do_not_collide(net, tmp_path, capsys):
    xrays, out = tmp_path / "xrays", tmp_path / "xrays" / "out"
    for place in ("one/a.png", "two/a.png", "two/deep/A.JPG", "two/b c.tif", "two/.hidden.png"):
        save(xrays / place)
    (xrays / "notes.txt").write_text("no image")
    for _ in range(2):  # the second time, with heatmaps of the first below the folder
        rows = run([xrays, xrays / "one" / "a.png"], net, out, heatmaps=True)
        names = [str(Path(file).relative_to(xrays)) for file in rows]
        assert names == ["one/a.png", "two/a.png", "two/b c.tif", "two/deep/A.JPG"]
        found = [row["heatmap"] for row in rows.values()]
        assert found == [f"heatmaps/{name}.png" for name in ("a", "a-2", "b_c", "A-3")]
        assert all((out / name).exists() for name in found)
        assert "1 files in folders skipped" in capsys.readouterr().err


def test_new_names():
    names = {"x", "x-2"}
    assert script.new_name(Path("X.png"), names) == "X-3"
    assert script.new_name(Path("x-3.jpg"), names) == "x-3-2"
    assert script.new_name(Path("a/..png"), names) == "image"
    assert len(script.new_name(Path("ä" * 100 + ".png"), names).encode()) == 100


@pytest.mark.parametrize(
    ("pixels", "warning"),
    [
        (chest(), None),
        (255 - chest(), "may be inverted"),
        (chest(40, 50), "tiny: 50 x 40 pixels, the net takes 64"),
        (chest(100, 230), "not of a chest X-ray's shape: 230 x 100"),
        (np.full((90, 90), 70, np.uint8), "almost constant"),
        (chest()[..., None] // np.array([1, 2, 4], np.uint8), "strong colour"),
        (chest()[..., None].repeat(3, axis=2), None),
    ],
)
def test_warnings(net, tmp_path, pixels, warning):
    path = save(tmp_path / "a.png", pixels)
    row = run([path], net, tmp_path / "out")[str(path)]
    assert row["error"] is None
    assert [text[: len(warning or "")] for text in row["warnings"]] == (
        [warning] if warning else []
    )


def test_several_pictures_in_a_file(net, tmp_path):
    pages = [Image.fromarray(chest(seed=1))]
    path = save(tmp_path / "a.tif", save_all=True, append_images=pages)
    row = run([path], net, tmp_path / "out")[str(path)]
    assert row["warnings"] == ["several pictures in the file, the first was read"]


def test_training_images_are_recognised(net, tmp_path):
    seen, other = save(tmp_path / "a.png"), save(tmp_path / "b.png", chest(seed=1))
    digest = hashlib.sha256(seen.read_bytes()).hexdigest()
    split = tmp_path / "split.csv"
    split.write_text(f"image,split,sha256\nx,train,{digest}\ny,test,{digest}\n")
    rows = run([seen, other], net, tmp_path / "out", split=split)
    assert rows[str(seen)]["warnings"] == ["the same file as a train image of the run"]
    assert rows[str(other)]["warnings"] == []
    split.write_text("image,split\nx,train\n")
    with pytest.raises(InputError, match="no column 'sha256'"):
        run([seen], net, tmp_path / "out", split=split)


def test_edited_copies_of_training_images_are_recognised(net, tmp_path):
    coarse = np.random.default_rng(0).integers(0, 200, (5, 8, 8)).astype(np.uint8)
    pictures = coarse.repeat(12, axis=1).repeat(12, axis=2)
    pixels = np.stack([to_square(Image.fromarray(picture), SIZE) for picture in pictures[:4]])
    training = tmp_path / "train.npy", tmp_path / "train.csv"
    save_images(training[0], pixels, pd.DataFrame({"image": list("abcd")}))
    copy = save(tmp_path / "copy.png", 255 - pictures[2][:, ::-1])
    other = save(tmp_path / "other.png", pictures[4])
    rows = run([copy, other], net, tmp_path / "out", training=training)
    assert rows[str(copy)]["warnings"][-1].startswith("copy of c of the run (mirrored; inverted;")
    assert rows[str(other)]["warnings"] == []


def test_copies_are_what_the_configuration_says():
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())["covid19"]["duplicates"]
    assert (script.CANDIDATES, script.SAME) == (settings["candidates"], settings["correlation"])


def test_another_file_than_the_record_says_is_refused(tmp_path):
    net = publish(tmp_path / "netC")
    with open(net / "model.onnx", "ab") as file:
        file.write(b"\0\0")
    with pytest.raises(InputError, match=r"model\.onnx: its sha256"):
        run([save(tmp_path / "a.png")], net, tmp_path / "out", backend="onnxruntime")
    with pytest.raises(InputError, match="a net is a folder"):
        run([tmp_path / "a.png"], tmp_path / "netD", tmp_path / "out")


def test_a_net_without_lrp_rules_is_predicted(tmp_path, capsys):
    net = publish(tmp_path / "netC", "mobilenet_v2")
    path = save(tmp_path / "a.png")
    row = run([path], net, tmp_path / "out", heatmaps=True)[str(path)]
    assert row["decision"] in CLASSES and row["heatmap"] is None
    assert "no heatmaps: " in capsys.readouterr().err


# Several nets


@pytest.fixture(scope="module")
def nets(net, tmp_path_factory):
    """Three nets: one with calibration, one for images of another size."""
    results = tmp_path_factory.mktemp("several")
    calibrated = publish(results / "netA", seed=1, onnx=False)
    calibrate(calibrated, 3)
    return [net, calibrated, publish(results / "netB", seed=2, size=96, onnx=False)]


def records(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_several_nets_are_each_as_alone_and_averaged(nets, tmp_path, capsys):
    xrays = [save(tmp_path / f"{seed}.png", chest(seed=seed)) for seed in range(3)]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    alone = [run([*xrays, bad], net, tmp_path / net.name) for net in nets]
    found = run([*xrays, bad], None, tmp_path / "out", nets=nets, heatmaps=True, min_agreement=0.6)
    said = capsys.readouterr().err
    assert "no heatmaps of several nets" in said and not (tmp_path / "out" / "heatmaps").exists()
    assert f"not calibrated, plain sigmoids taken: {nets[0]}, {nets[2]}\n" in said
    lines = {line["file"]: line for line in records(tmp_path / "out" / "predictions.csv")}
    for path in map(str, xrays):
        for net, rows in zip(nets, alone, strict=True):
            for key in ("sigmoids", "calibrated", "decision"):
                assert found[path]["nets"][str(net)][key] == rows[path][key], (net, key)
        for name in CLASSES:
            values = [(rows[path]["calibrated"] or rows[path]["sigmoids"])[name] for rows in alone]
            assert float(lines[path][f"mean_{name}"]) == pytest.approx(np.mean(values))
            assert float(lines[path][f"spread_{name}"]) == pytest.approx(np.ptp(values))
        assert found[path]["decision"] == lines[path]["decision"] != ""
    assert lines[str(bad)] == dict.fromkeys(lines[str(bad)], "") | {
        "file": str(bad), "error": "the file is empty",
    }  # fmt: skip
    by_net = records(tmp_path / "out" / "net_predictions.csv")
    assert [(line["file"], line["net"]) for line in by_net] == [
        (str(path), str(net)) for path in xrays for net in nets
    ]
    for line in by_net:
        expected = found[line["file"]]["nets"][line["net"]]
        assert float(line["covid19"]) == expected["sigmoids"]["covid19"]
        assert line["decision"] == expected["decision"]
        assert (line["calibrated_covid19"] == "") == (expected["calibrated"] is None)


def predicted(**sigmoids):
    decision = max(sigmoids, key=sigmoids.get)
    return {"sigmoids": sigmoids, "calibrated": None, "decision": decision}


def test_no_decision_where_too_few_nets_vote_for_the_largest_mean():
    sure, unsure = predicted(a=0.9, b=0.1), predicted(a=0.4, b=0.5)
    for n_sure, agreement, decision in ((5, 1, "a"), (4, 0.8, "a"), (3, 0.6, "no decision")):
        nets = [sure] * n_sure + [unsure] * (5 - n_sure)
        found = script.combine(nets, ["a", "b"], script.MIN_AGREEMENT)
        assert (found["agreement"], found["decision"]) == (agreement, decision)
        assert found["mean"]["a"] == pytest.approx((0.9 * n_sure + 0.4 * (5 - n_sure)) / 5)
    minority = [predicted(a=1.0, b=0.0), *[predicted(a=0.4, b=0.5)] * 2]
    assert script.combine(minority, ["a", "b"], 0.5)["decision"] == "no decision"
    assert script.combine(minority, ["a", "b"], 0.3)["decision"] == "a"


def test_the_reason_for_the_threshold_is_true():
    votes = np.stack(np.meshgrid(*[range(3)] * 5)).reshape(5, -1)
    most = np.max([(votes == output).sum(axis=0) for output in range(3)], axis=0)
    assert [round(100 * np.mean(most >= n)) for n in (3, 4)] == [63, 14]
    text = " ".join(command("--help").stdout.split())
    assert "Default: 0.8," in text and "63% of images, but four for 14%" in text


def test_nets_that_can_not_be_averaged(nets, tmp_path):
    path, copy, other = save(tmp_path / "a.png"), tmp_path / "copy", tmp_path / "other"
    for folder, source in ((copy, nets[0]), (other, nets[1])):
        folder.mkdir()
        for file in source.iterdir():
            (folder / file.name).symlink_to(file)
    (copy / "model.safetensors").unlink()  # by its ONNX file alone
    record = json.loads((nets[1] / "model.json").read_text()) | {"outputs": CLASSES[::-1]}
    (other / "model.json").unlink()
    (other / "model.json").write_text(json.dumps(record))
    for given, message in (
        (nets[:1], "has one net"),
        ([nets[0], copy], f"has one net twice: {nets[0]} and {copy}"),
        ([nets[0], other], f"{other}: its outputs are covid19, "),
        ([nets[0], tmp_path], "model.json: no such file; a net is a folder"),
    ):
        with pytest.raises(InputError, match=message):
            run([path], None, tmp_path / "out", nets=given)
    for share in (0, 1.1, float("nan")):
        with pytest.raises(InputError, match="--min-agreement is"):
            run([path], None, tmp_path / "out", nets=nets, min_agreement=share)
    assert not (tmp_path / "out").exists()


def test_net_and_nets_exclude_each_other():
    done = command("a.png", "--net", "a", "--nets", "a", "b", "--out", "out")
    assert done.returncode == 2 and "not allowed with" in done.stderr


# DICOM


def save_dicom(path, pixels, meaning="MONOCHROME2", **elements):
    """A digital radiograph of Erika Muster; pixels unsigned (h, w) or (h, w, 3)."""
    pydicom = pytest.importorskip("pydicom")
    from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian

    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.PatientName, dataset.PatientID = PATIENT, "4711-PATIENT"
    dataset.InstitutionName, dataset.PatientBirthDate = "Muster Hospital", "19640812"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    dataset.PlanarConfiguration = 0
    dataset.PhotometricInterpretation = meaning
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.dtype.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.Modality, dataset.ViewPosition = "DX", "PA"
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def wide(pixels):
    """uint8 as uint16 of the full range, as a 16-bit PNG has it."""
    return pixels.astype(np.uint16) * 257


def table_of(values, first, bits):
    pydicom = pytest.importorskip("pydicom")
    item = pydicom.Dataset()
    item.LUTDescriptor = [len(values), first, bits]
    item.LUTData = [int(value) for value in values]
    item["LUTDescriptor"].VR = item["LUTData"].VR = "US"
    return [item]


FULL = {"WindowCenter": 32768, "WindowWidth": 65536}
VARIANTS = {
    "8 bits": lambda path: save_dicom(path, chest(), WindowCenter=128, WindowWidth=256),
    "16 bits": lambda path: save_dicom(path, wide(chest()), **FULL),
    "several windows": lambda path: save_dicom(
        path, wide(chest()), WindowCenter=[32768, 5], WindowWidth=[65536, 10]
    ),
    "MONOCHROME1": lambda path: save_dicom(path, wide(255 - chest()), "MONOCHROME1", **FULL),
    "12 bits in a window": lambda path: save_dicom(
        path, chest().astype(np.uint16) + 1000, BitsStored=12, HighBit=11,
        WindowCenter=1128, WindowWidth=256,
    ),
    "rescaled": lambda path: save_dicom(
        path, chest().astype(np.uint16), RescaleSlope=2, RescaleIntercept=-100,
        WindowCenter=-100 + 255 + 0.5, WindowWidth=511,
    ),
    "VOI LUT": lambda path: save_dicom(
        path, 255 - chest(), VOILUTSequence=table_of(np.arange(255, -1, -1), 0, 8)
    ),
    "colour": lambda path: save_dicom(path, chest()[..., None].repeat(3, axis=2), "RGB"),
}  # fmt: skip


@pytest.mark.parametrize("variant", VARIANTS)
def test_dicom_is_read_as_the_picture_of_it(tmp_path, variant):
    (expected,), *_ = user_images.read_radiograph(save(tmp_path / "a.png"), [SIZE])
    path = VARIANTS[variant](tmp_path / "a.dcm")
    (pixels,), warnings, _ = user_images.read_radiograph(path, [SIZE])
    assert abs(pixels.astype(int) - expected).max() <= 1
    assert warnings == []


def test_dicom_without_a_window_is_stretched(tmp_path):
    narrow = chest().astype(np.uint16) + 3000
    (pixels,), *_ = user_images.read_radiograph(save_dicom(tmp_path / "a.dcm", narrow), [90])
    assert pixels.min() < 10 and pixels.max() > 245


@pytest.mark.parametrize(
    ("elements", "warning"),
    [
        ({"ViewPosition": "AP"}, None),
        ({"ViewPosition": "LL"}, "lateral view (ViewPosition)"),
        ({"ViewPosition": "LATERAL"}, "lateral view (ViewPosition)"),
        ({"ViewPosition": "RLO"}, "not a frontal view (ViewPosition)"),
        ({"ViewPosition": ""}, "view not known (no ViewPosition)"),
        ({"Modality": "CT"}, "no radiograph by its Modality"),
        ({"BurnedInAnnotation": "YES"}, "text burned in (BurnedInAnnotation), which heatmaps show"),
    ],
)
def test_warnings_of_dicom(tmp_path, elements, warning):
    path = save_dicom(tmp_path / "a.dcm", wide(chest()), **FULL, **elements)
    assert user_images.read_radiograph(path, [SIZE])[1] == ([warning] if warning else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Rows": 5000}, "pydicom can decode, stored as Explicit VR Little Endian"),
        ({"NumberOfFrames": 2, "Rows": 45}, "DICOM of several frames"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "neither grey nor RGB"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "no DICOM image that pydicom can decode"),
    ],
)
def test_unreadable_dicom(tmp_path, change, message):
    path = save_dicom(tmp_path / "a.dcm", chest(), **change)
    with pytest.raises(InputError, match=message):
        user_images.read_radiograph(path, [SIZE])


def test_a_picture_named_dicom(tmp_path):
    pytest.importorskip("pydicom")
    path = tmp_path / "a.dcm"
    save(tmp_path / "a.png").rename(path)
    with pytest.raises(InputError, match="no DICOM image"):
        user_images.read_radiograph(path, [SIZE])


def test_no_patient_data_gets_out(net, tmp_path):
    """Of files that are read, with a mark alone for a suffix, and of one that can't be read."""
    xrays, out = tmp_path / "xrays", tmp_path / "out"
    save_dicom(xrays / "IM0001", wide(chest()), **FULL, ViewPosition="MUSTER LL")
    save_dicom(xrays / "b.dcm", chest(), ViewPosition="MUSTER", StudyID=PATIENT)
    save_dicom(xrays / "c.dcm", chest(), WindowWidth=0, WindowCenter=1)
    (xrays / "notes").write_text("no DICOM")
    done = command(xrays, "--net", net, "--out", out)
    assert done.returncode == 0, done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) == 4, "two tables, two heatmaps"
    said = b"".join(path.read_bytes() for path in files) + (done.stdout + done.stderr).encode()
    for word in (b"muster", b"erika", b"4711", b"19640812"):
        assert word not in said.lower()
    rows = json.loads((out / "predictions.json").read_text())["images"]
    assert [Path(row["file"]).name for row in rows] == ["IM0001", "b.dcm", "c.dcm"]
    assert rows[2]["error"].startswith("no DICOM image that pydicom can decode")


def test_dicom_without_pydicom_says_what_to_install(net, tmp_path, monkeypatch):
    good, path = save(tmp_path / "a.png"), save_dicom(tmp_path / "a.dcm", chest())
    monkeypatch.setitem(sys.modules, "pydicom", None)
    rows = run([path, good], net, tmp_path / "out")
    assert rows[str(path)]["error"] == "DICOM needs pydicom: pip install pydicom"
    assert rows[str(good)]["decision"] in CLASSES


def test_a_closed_folder_is_reported(net, tmp_path, monkeypatch):
    good, closed = save(tmp_path / "a.png"), tmp_path / "closed"
    closed.mkdir(mode=0)
    scandir = os.scandir

    def refuse(path):  # to root as well, who may list every folder
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    rows = run([tmp_path], net, tmp_path / "out")
    assert rows[str(closed)]["error"] and rows[str(good)]["decision"] in CLASSES


CASES = Path(__file__).parents[2] / "shared" / "cases"
REFUSED = {"no_transfer_syntax.dcm": "DICOM without a transfer syntax (TransferSyntaxUID)"}


@pytest.mark.skipif(not CASES.exists(), reason=f"odd files are not at {CASES}")
def test_shared_cases_show_what_they_should():
    truths = sorted(CASES.glob("*.truth.png"))
    assert truths
    for truth in truths:
        (path,) = (p for p in CASES.glob(truth.name.replace(".truth.png", ".*")) if p != truth)
        content = path.read_bytes()
        if path.name in REFUSED:
            with pytest.raises(InputError, match="without a transfer syntax"):
                user_images.read_content(content, True)
            continue
        grey, _ = user_images.read_content(content, path.suffix == ".dcm")
        difference = np.asarray(grey).astype(int) - np.asarray(Image.open(truth))
        assert np.abs(difference).mean() < 1, path.name
    turned, warnings = user_images.read_content((CASES / "main_011a_2.jpg").read_bytes(), False)
    assert turned.size == (128, 120) and warnings == []
