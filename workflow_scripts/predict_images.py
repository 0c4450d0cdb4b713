"""Try a trained net on X-rays of your own. Research only, not a medical device.

IMAGE: PNG, JPEG, TIFF or DICOM files, or folders of them. --net: a folder with model.json and
model.safetensors (needs PyTorch) or model.onnx (needs ONNX Runtime alone), as the workflow writes
them; with calibration.csv beside, calibrated values, too. Images become the net's input as in
training; words in them are not covered.

Writes into --out: predictions.csv and predictions.json, a row per image (file, a sigmoid per class,
calibrated_ ones, decision, warnings, error), and, with PyTorch, heatmaps/NUMBER_NAME.png, the
conserving relevance for the decision. Nothing else of a DICOM file gets there than its pixels. A
file that can't be read has an error instead of a decision, and stops nothing.
"""

import csv
import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
from cxr.decoding import UnreadableImage, decode, read_bytes, to_grey
from cxr.files import whole, write_whole
from cxr.images import normalise, to_square
from cxr.logs import InputError, parser, progress, user_errors
from PIL import Image

NOTE = "Research only, not a medical device."
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom"}
BATCH = 16
FRONTAL = {"PA", "AP"}
METHOD = "preset_a_flat_conserving"


def predict_images(images, net, out, backend, heatmaps, split, threads):
    print(NOTE, file=sys.stderr)
    description = read_model(net)
    model = load_backend(net, description, backend, threads)
    temperature = read_temperature(net)
    seen = read_training_sums(split)
    outputs, size = description["outputs"], description["image_size"]
    columns = ["file", *outputs, *(f"calibrated_{name}" for name in outputs)]
    columns += ["decision", "warnings", "error"]
    files = find(images)
    n_decided, rows = 0, []
    out.mkdir(parents=True, exist_ok=True)
    with whole(out / "predictions.csv") as temporary, open(temporary, "w", newline="") as table:
        writer = csv.DictWriter(table, columns)
        writer.writeheader()
        starts = range(0, len(files), BATCH)
        for start in progress(starts, "batches"):
            batch = [examine(path, size, seen) for path in files[start : start + BATCH]]
            readable = [found for found in batch if "pixels" in found]
            if readable:
                decide(readable, model, outputs, temperature)
                n_decided += len(readable)
            if readable and heatmaps and model.explain:
                draw(readable, model, outputs, out / "heatmaps", start, batch)
            for found in batch:
                found.pop("pixels", None)
                row = {name: found.get(name, "") for name in columns}
                writer.writerow(row | {"warnings": "; ".join(found["warnings"])})
                rows.append({name: found.get(name) for name in columns})
    record = {"note": NOTE, "net": str(net), "images": rows, "backend": model.name}
    write_whole(out / "predictions.json", json.dumps(record, indent=1) + "\n")
    if heatmaps and not model.explain:
        print("no heatmaps: they need PyTorch and model.safetensors", file=sys.stderr)
    print(f"{n_decided} of {len(files)} images predicted: {out / 'predictions.csv'}")
    if not n_decided:
        raise InputError(f"none of {len(files)} files is a readable image: see predictions.csv")


# The net


class TorchModel:
    """The net in PyTorch."""

    name, explain = "torch", True

    def __init__(self, path):
        from cxr.devices import take_device
        from cxr.nets import load_net

        self.device = take_device()
        self.net, _ = load_net(path)
        self.net.to(self.device).eval()

    def logits(self, pixels):
        """Logits, float32 (n, outputs), of uint8 (n, size, size)."""
        import torch
        from cxr.batches import network_input

        with torch.no_grad():
            inputs = network_input(torch.from_numpy(pixels).to(self.device))
            return self.net(inputs).float().cpu().numpy()

    def relevance(self, pixels, decisions):
        from cxr.lrp import relevance_maps

        return relevance_maps(self.net, pixels, decisions, METHOD, self.device)[0]


class OnnxModel:
    """The net in ONNX Runtime, on the CPU."""

    name, explain = "onnxruntime", False

    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def logits(self, pixels):
        """Logits, float32 (n, outputs), of uint8 (n, size, size)."""
        inputs = np.ascontiguousarray(normalise(pixels).transpose(0, 3, 1, 2))
        name = self.session.get_inputs()[0].name
        return self.session.run(None, {name: inputs})[0]


def read_model(folder):
    path = folder / "model.json"
    if not path.exists():
        raise InputError(f"{path} does not exist; --net takes a folder such as results/netC")
    return json.loads(path.read_text())


def load_backend(folder, description, wanted, threads):
    """The net by the backend that is wanted, or else by the first that can be had."""
    files = {"torch": folder / "model.safetensors", "onnxruntime": folder / "model.onnx"}
    missing = []
    for name in [wanted] if wanted else files:
        path = files[name]
        if not path.exists():
            missing.append(f"{name}: no {path}")
            continue
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest != description["sha256"][path.name]:
            raise InputError(f"{path}: sha256 {digest}, not what model.json says")
        try:
            return TorchModel(path) if name == "torch" else OnnxModel(path, threads)
        except ModuleNotFoundError as error:
            missing.append(f"{name}: {error}")
    raise InputError(f"{folder}: no way to run the net ({'; '.join(missing)})")


def read_temperature(folder):
    """The temperature that calibrates the net's logits, or None."""
    path = folder / "calibration.csv"
    if not path.exists():
        return None
    with open(path, newline="") as file:
        rows = {row["calibration"]: row for row in csv.DictReader(file)}
    return float(rows["after"]["temperature"])


def read_training_sums(split):
    """sha256 of the images that nets learnt from, from split.csv; none without it."""
    if split is None:
        return set()
    with open(split, newline="") as file:
        return {row["sha256"] for row in csv.DictReader(file) if row["split"] in ("train", "val")}


# The images


def find(paths):
    """Files that are named, and those below folders whose suffix is an image's."""
    files, skipped = [], 0
    for path in paths:
        if path.is_dir():
            below = sorted(file for file in path.rglob("*") if file.is_file())
            files += [file for file in below if file.suffix.lower() in SUFFIXES]
            skipped += sum(file.suffix.lower() not in SUFFIXES for file in below)
        else:
            files.append(path)
    if skipped:
        print(f"{skipped} files are no images by their names, and skipped", file=sys.stderr)
    if not files:
        raise InputError("no image among what was given")
    return files


def examine(path, size, seen):
    """A row for an image: file, warnings, and its pixels, uint8 (size, size), or its error."""
    row = {"file": str(path), "warnings": []}
    try:
        content = read_bytes(path)
        is_dicom = content[128:132] == b"DICM"
        stored, view = read_dicom(content) if is_dicom else (decode(content), None)
        grey = to_grey(stored)
    except (UnreadableImage, FileNotFoundError) as error:
        return row | {"error": str(error)}
    row["warnings"] = list(doubts(stored, grey, size))
    if view and view not in FRONTAL:
        row["warnings"].append(f"view {view}: the nets know frontal views alone")
    if hashlib.sha256(content).hexdigest() in seen:
        row["warnings"].append("one of the images that the nets learnt from")
    return row | {"pixels": to_square(grey, size)}


def read_dicom(content):
    """PIL image of a DICOM file as it is meant to be seen, 8 bits, and its view or None."""
    try:
        import pydicom
        from pydicom.pixels import apply_modality_lut, apply_voi_lut
    except ModuleNotFoundError as error:
        raise UnreadableImage("a DICOM file: needs the package pydicom") from error
    try:
        data = pydicom.dcmread(io.BytesIO(content))
        values = apply_voi_lut(apply_modality_lut(data.pixel_array, data), data)
    except Exception as error:  # pydicom and its decoders raise what they please
        raise UnreadableImage(f"no readable DICOM image: {error}") from error
    if data.get("SamplesPerPixel", 1) != 1 or values.ndim != 2:
        raise UnreadableImage(f"a DICOM image of shape {values.shape}; expected one grey image")
    values = values.astype(np.float64)
    low, high = values.min(), values.max()
    values = (values - low) / (high - low or 1) * 255
    if data.PhotometricInterpretation == "MONOCHROME1":
        values = 255 - values
    return Image.fromarray(np.round(values).astype(np.uint8)), data.get("ViewPosition") or None


def doubts(stored, grey, size):
    """Why an image may be none that the nets know, in words."""
    pixels = np.asarray(to_square(grey, 64), np.float64)
    if min(grey.size) < size:
        yield f"{grey.width} x {grey.height} pixels; the net takes {size} x {size}"
    if not 0.5 <= grey.width / grey.height <= 2:
        yield f"{grey.width} x {grey.height} pixels: long for a chest X-ray"
    if pixels.std() < 10:
        yield "hardly any contrast"
    coloured = len(stored.getbands()) >= 3 or stored.mode == "P"
    bands = np.asarray(stored.convert("RGB").resize((64, 64)), np.int16) if coloured else None
    if coloured and (np.ptp(bands, axis=2) > 30).mean() > 0.1:
        yield "coloured: no radiograph, or a picture of one"
    middle, corners = pixels[16:48, 16:48].mean(), pixels[[0, 0, -1, -1], [0, -1, 0, -1]].mean()
    if corners > middle + 40:
        yield "may be inverted: brighter in its corners than in its middle"


# What the net says


def decide(rows, model, outputs, temperature):
    """Add sigmoids, calibrated ones and the decision to rows that hold pixels."""
    logits = model.logits(np.stack([row["pixels"] for row in rows])).astype(np.float64)
    for row, values in zip(rows, logits, strict=True):
        row |= dict(zip(outputs, (1 / (1 + np.exp(-values))).tolist(), strict=True))
        if temperature:
            calibrated = 1 / (1 + np.exp(-values / temperature))
            row |= {
                f"calibrated_{name}": float(v) for name, v in zip(outputs, calibrated, strict=True)
            }
        row["decision"] = outputs[int(values.argmax())]


def draw(rows, model, outputs, folder, start, batch):
    """Write a heatmap of each row's decision, numbered as the images are."""
    from cxr.heatmaps import save_heatmap

    pixels = np.stack([row["pixels"] for row in rows])
    maps = model.relevance(pixels, [outputs.index(row["decision"]) for row in rows])
    for row, relevance in zip(rows, maps, strict=True):
        number = start + next(place for place, other in enumerate(batch) if other is row)
        path = folder / f"{number:05d}_{Path(row['file']).stem}.png"
        save_heatmap(path, relevance, row["pixels"])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    arguments.add_argument("--net", type=Path, required=True, help="such as results/netC")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments.add_argument("--backend", choices=["torch", "onnxruntime"], help="default: the first")
    arguments.add_argument("--no-heatmaps", dest="heatmaps", action="store_false")
    arguments.add_argument(
        "--split", type=Path, help="split.csv of the run: warns of images that nets learnt from"
    )
    arguments.add_argument("--threads", type=int, default=2, help="of ONNX Runtime")
    with user_errors():
        predict_images(**vars(arguments.parse_args()))
