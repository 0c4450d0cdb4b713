"""A trained net on own X-rays: the same numbers as the workflow's, and files of all kinds."""

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd  # noqa: E402
import predict_images as step  # noqa: E402
from cxr.arrays import open_by_class, save_images  # noqa: E402
from cxr.conversion import export  # noqa: E402
from cxr.decoding import read_grey  # noqa: E402
from cxr.images import to_square  # noqa: E402
from cxr.logs import InputError  # noqa: E402
from cxr.nets import load_net  # noqa: E402
from cxr.prediction import predict_logits  # noqa: E402
from PIL import Image  # noqa: E402
from small_trainings import CLASSES, CPU, save_start  # noqa: E402

SIZE = 32


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A folder with a net as publish_net writes it, and its temperature."""
    folder = tmp_path_factory.mktemp("net")
    path = save_start(folder, "resnet18").rename(folder / "model.safetensors")
    model, description = load_net(path)
    export(model, description, folder / "model.onnx")
    sums = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("model.safetensors", "model.onnx")
    }
    (folder / "model.json").write_text(json.dumps(description | {"sha256": sums}))
    (folder / "calibration.csv").write_text("calibration,temperature\nbefore,1\nafter,2\n")
    return folder


def radiograph(seed=0, size=(90, 80)):
    """Something with a bright middle and dark corners."""
    y, x = np.mgrid[-1 : 1 : size[1] * 1j, -1 : 1 : size[0] * 1j]
    noise = np.random.default_rng(seed).integers(0, 30, (size[1], size[0]))
    return Image.fromarray((200 * np.exp(-2 * (x**2 + y**2)) + noise).astype(np.uint8))


def predict(images, net, out, **options):
    chosen = {"backend": None, "heatmaps": False, "split": None, "threads": 1} | options
    step.predict_images(images, net, out, **chosen)
    return pd.read_csv(out / "predictions.csv", keep_default_na=False)


def test_same_numbers_as_the_workflow_s(net, tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        radiograph(number).save(paths[-1])
    table = predict(paths, net, tmp_path / "out")
    pixels = np.stack([to_square(read_grey(path), SIZE) for path in paths])
    names = pd.DataFrame({"image": [path.name for path in paths], "class": CLASSES})
    save_images(tmp_path / "set.npy", pixels, names)
    model, _ = load_net(net / "model.safetensors")
    logits = predict_logits(model, open_by_class(tmp_path / "set.npy", CLASSES), CPU)
    assert table[CLASSES].to_numpy() == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-6)
    assert table.decision.tolist() == [CLASSES[place] for place in logits.argmax(axis=1)]
    calibrated = table[[f"calibrated_{name}" for name in CLASSES]].to_numpy()
    assert calibrated == pytest.approx(1 / (1 + np.exp(-logits / 2)), abs=1e-6)


def test_onnxruntime_alone_gives_the_same(net, tmp_path):
    """Where PyTorch can't be imported, and nothing but the ONNX file and its JSON is there."""
    alone = tmp_path / "net"
    alone.mkdir()
    for name in ("model.onnx", "model.json"):
        (alone / name).write_bytes((net / name).read_bytes())
    radiograph().save(tmp_path / "a.png")
    with_torch = predict([tmp_path / "a.png"], net, tmp_path / "torch")
    script = Path(step.__file__)
    blocked = f"""
import runpy, sys
sys.modules["torch"] = sys.modules["torchvision"] = None
sys.path.insert(0, {str(script.parent)!r})
sys.argv = [{str(script)!r}, "a.png", "--net", "net", "--out", "onnx"]
runpy.run_path({str(script)!r}, run_name="__main__")
"""
    run = subprocess.run(
        [sys.executable, "-c", blocked], cwd=tmp_path, text=True, capture_output=True
    )
    assert run.returncode == 0, run.stderr
    assert "Research only, not a medical device." in run.stderr
    assert "no heatmaps" in run.stderr
    table = pd.read_csv(tmp_path / "onnx/predictions.csv")
    assert table[CLASSES].to_numpy() == pytest.approx(with_torch[CLASSES].to_numpy(), abs=1e-4)
    assert table.calibrated_normal.isna().all(), "no calibration.csv, no calibrated values"


def test_bad_files_stop_nothing_and_names_don_t_collide(net, tmp_path):
    for place in ("x", "y"):
        (tmp_path / "in" / place).mkdir(parents=True)
        radiograph(size=(64, 64)).save(tmp_path / f"in/{place}/a.jpg")
    (tmp_path / "in/x/broken.png").write_bytes(b"no image")
    (tmp_path / "in/notes.txt").write_text("no image by its name")
    images = [tmp_path / "in", tmp_path / "missing.png"]
    table = predict(images, net, tmp_path / "out", heatmaps=True)
    assert [Path(name).name for name in table.file] == [
        "a.jpg",
        "broken.png",
        "a.jpg",
        "missing.png",
    ]
    assert (table.error != "").tolist() == [False, True, False, True]
    assert (table.decision != "").tolist() == [True, False, True, False]
    pictures = sorted(path.name for path in (tmp_path / "out/heatmaps").iterdir())
    assert pictures == ["00000_a.png", "00002_a.png"]
    record = json.loads((tmp_path / "out/predictions.json").read_text())
    assert record["note"] == "Research only, not a medical device."
    assert [row["file"] for row in record["images"]] == table.file.tolist()


@pytest.mark.parametrize("paths", [["broken.png"], ["empty"]])
def test_nothing_to_predict_is_one_line(net, tmp_path, paths):
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"none of 1 files is a readable image|no image among"):
        predict([tmp_path / path for path in paths], net, tmp_path / "out")


def warnings_of(image, net, folder, name="a.png", **options):
    image.save(folder / name)
    return predict([folder / name], net, folder / "out", **options).warnings[0]


def test_doubts_are_said(net, tmp_path):
    assert warnings_of(radiograph(), net, tmp_path) == ""
    inverted = Image.fromarray(255 - np.asarray(radiograph()))
    assert "may be inverted" in warnings_of(inverted, net, tmp_path)
    assert "long for a chest X-ray" in warnings_of(radiograph(size=(200, 60)), net, tmp_path)
    assert "hardly any contrast" in warnings_of(Image.new("L", (64, 64), 90), net, tmp_path)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)
    assert "coloured" in warnings_of(Image.fromarray(noise), net, tmp_path)
    sixteen = Image.fromarray(np.asarray(radiograph()).astype(np.uint16) * 257)
    assert warnings_of(sixteen, net, tmp_path, "a.tiff") == ""


def test_small_images_are_doubted():
    grey = radiograph(size=(40, 40))
    assert any("the net takes 224 x 224" in doubt for doubt in step.doubts(grey, grey, 224))


def test_training_images_are_named(net, tmp_path):
    radiograph().save(tmp_path / "a.png")
    digest = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    with open(tmp_path / "split.csv", "w", newline="") as file:
        csv.writer(file).writerows([("split", "sha256"), ("train", digest), ("test", "1")])
    found = warnings_of(radiograph(), net, tmp_path, split=tmp_path / "split.csv")
    assert found == "one of the images that the nets learnt from"


def test_changed_weights_are_refused(net, tmp_path):
    for path in net.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with open(tmp_path / "model.safetensors", "ab") as file:
        file.write(b"x")
    radiograph().save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"not what model\.json says"):
        predict([tmp_path / "a.png"], tmp_path, tmp_path / "out")


def test_folder_without_a_net(tmp_path):
    with pytest.raises(InputError, match="--net takes a folder such as"):
        predict([tmp_path], tmp_path, tmp_path / "out")


# DICOM


def write_dicom(path, pixels, photometric="MONOCHROME2", view="PA", window=None):
    """A DICOM file of grey uint16 pixels, with a patient's name in it."""
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    data = pydicom.Dataset()
    data.file_meta = meta
    data.PatientName, data.PatientID, data.ViewPosition = "Secret^Person", "42-SECRET", view
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, photometric
    data.BitsAllocated = data.BitsStored = 16
    data.HighBit, data.PixelRepresentation = 15, 0
    if window:
        data.WindowCenter, data.WindowWidth = window
    data.PixelData = pixels.astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)
    return path


def test_dicom_is_read_as_it_is_meant_to_be_seen(tmp_path):
    values = np.asarray(radiograph()).astype(np.uint16) * 16
    plain, view = step.read_dicom(write_dicom(tmp_path / "a.dcm", values).read_bytes())
    assert view == "PA"
    grey = np.asarray(plain).astype(float)
    assert np.corrcoef(grey.ravel(), values.ravel())[0, 1] > 0.999
    assert (grey.min(), grey.max()) == (0, 255)
    negative = write_dicom(tmp_path / "b.dcm", values.max() - values, "MONOCHROME1")
    assert np.abs(np.asarray(step.read_dicom(negative.read_bytes())[0]) - grey).max() <= 1
    window = (int(np.median(values)), 100)
    narrow = write_dicom(tmp_path / "c.dcm", values, window=window)
    shown = np.asarray(step.read_dicom(narrow.read_bytes())[0])
    assert np.isin(shown, (0, 255)).mean() > 0.5 > np.isin(grey, (0, 255)).mean()


def test_nothing_of_a_patient_gets_into_outputs(net, tmp_path):
    values = np.asarray(radiograph()).astype(np.uint16) * 16
    lateral = write_dicom(tmp_path / "a.dcm", values, view="LL")
    (tmp_path / "cut.dcm").write_bytes(lateral.read_bytes()[:400])
    files = [lateral, tmp_path / "cut.dcm"]
    table = predict(files, net, tmp_path / "out", heatmaps=True)
    assert table.warnings[0] == "view LL: the nets know frontal views alone"
    assert "no readable DICOM image" in table.error[1]
    for folder, _, names in os.walk(tmp_path / "out"):
        for name in names:
            content = Path(folder, name).read_bytes()
            assert b"Secret" not in content and b"SECRET" not in content
