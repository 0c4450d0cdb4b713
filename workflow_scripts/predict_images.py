"""Predict X-rays of your own with a trained net. Research only, not a medical device.

IMAGE is a PNG, JPEG, TIFF or DICOM file, or a folder of such. --net is a folder with model.json
and model.safetensors, for PyTorch, or model.onnx, for ONNX Runtime alone, as publish_net writes
them; no other file of the run is needed. With a fitted calibration.csv beside them there are
calibrated values, too. Images become the net's input as in training; no words are covered.

Writes into --out, and names there the file, but nothing else that a DICOM file says:

predictions.csv, predictions.json: a row per image: the sigmoid of each output, the calibrated
    ones, the decision (the output with the largest), warnings, an error where the image can't be
    read, and its heatmap;
heatmaps/NAME.png: with PyTorch, the relevance of the decision, by --method.

Warnings: a lateral or unknown view (DICOM alone says which), inverted-looking, tiny, of another
shape, coloured or constant, the same file as an image of --split, the same picture as one of
--training, edited or not; and where the depth or the range of grey is a guess, because no tag says
it.
"""

import csv
import json
import math
import os
import re
import sys
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path

import numpy as np
from cxr.checksums import sha256_of
from cxr.cli import InputError, parser, progress, user_errors
from cxr.contents import read_json, read_records
from cxr.data.images import normalise
from cxr.data.pixels import reason_of
from cxr.data.user_images import find_images, read_radiograph
from cxr.files import atomic_write
from cxr.lrp.methods import METHODS, SHOWN
from scipy.special import expit

NOTE = "Research only, not a medical device."
BATCH = 16  # images
CANDIDATES, SAME = 10, 0.87  # of covid19.duplicates in config.yaml
BACKENDS = {"torch": "model.safetensors", "onnxruntime": "model.onnx"}


def predict_images(
    images, net, out, backend=None, split=None, heatmaps=True, method=SHOWN, training=None,
    correlation=SAME,
):  # fmt: skip
    record, temperature = read_record(net), read_temperature(net)
    model = open_net(net, record, backend)
    known = read_split(split) if split else {}
    copies_of = training_images(*training, correlation) if training else None
    if heatmaps and model.backend != "torch":
        print("no heatmaps: they need PyTorch and model.safetensors", file=sys.stderr)
        heatmaps = False
    paths, skipped = find_images(images, out.resolve())
    for reason, number in skipped.items():
        print(f"{number} files in folders skipped: {reason}", file=sys.stderr)
    if not paths:
        raise InputError(f"no image in {', '.join(map(str, images))}")
    head = {
        "note": NOTE, "architecture": record["architecture"], "outputs": record["outputs"],
        "sha256": record["sha256"][BACKENDS[model.backend]], "backend": model.backend,
        "temperature": temperature,
    }  # fmt: skip
    n_predicted, first_error, names = 0, None, set()
    with tables(out, head) as write:
        for batch in in_batches(progress(paths, "images"), BATCH):
            rows, pixels = read_batch(batch, record["image_size"], known)
            readable = [row for row in rows if row["error"] is None]
            if readable and copies_of:
                for row, found in zip(readable, copies_of(pixels), strict=True):
                    row["warnings"] += found
            if readable:
                add_predictions(readable, model.logits(pixels), record["outputs"], temperature)
            if readable and heatmaps:
                heatmaps = draw_heatmaps(
                    readable, pixels, model, method, record["outputs"], out, names
                )
            for row in rows:
                write(row)
                if row["error"]:
                    first_error = first_error or f"{row['file']}: {row['error']}"
            n_predicted += len(readable)
    bad = f"{len(paths) - n_predicted} of {len(paths)} images can't be read, first {first_error}"
    if not n_predicted:
        raise InputError(bad)
    if first_error:
        print(f"warning: {bad}", file=sys.stderr)
    print(f"{n_predicted} images predicted: {out / 'predictions.csv'}")


# The net


def read_record(folder):
    """model.json of publish_net, as a mapping."""
    path = folder / "model.json"
    expected = {"architecture": str, "outputs": list, "image_size": int, "sha256": dict}
    try:
        record = read_json(path, expected, "model.json of publish_net")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; --net takes a folder as results/netC") from error
    if wrong := [key for key, kind in expected.items() if not isinstance(record[key], kind)]:
        raise InputError(f"{path}: {wrong[0]} is {record[wrong[0]]!r}; not written by publish_net")
    return record


def read_temperature(folder):
    """The temperature of calibration.csv; None where there is no such file, or none was fitted."""
    path = folder / "calibration.csv"
    if not path.exists():
        return None
    rows = read_records(path, ["calibration", "fitted", "temperature"])
    try:
        after = {row["calibration"]: row for row in rows}["after"]
        temperature = float(after["temperature"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not written by calibrate") from error
    if not 0 < temperature < math.inf:
        raise InputError(f"{path}: the temperature is {temperature}, expected a positive number")
    return temperature if after["fitted"] == "True" else None


def read_split(path):
    """{sha256 of a file: its split} of split.csv; a training image's wins over others."""
    rows = read_records(path, ["sha256", "split"])
    rows.sort(key=lambda row: row["split"] == "train")
    return {row["sha256"]: row["split"] for row in rows if row["split"] != "excluded"}


def training_images(array, table, least):
    """A function from pictures, uint8 (n, size, size), to warnings of each that is a copy of one.

    array, table: an image set, such as data/covid19/train.npy and its CSV. least: correlation.
    """
    from cxr.data.duplicates import describe_all, find_copies
    from cxr.data.image_sets import ImageSet, open_images

    pixels, rows = open_images(ImageSet(array, table))
    described = describe_all(pixels)

    def warnings_of(pictures):
        found = [[] for _ in pictures]
        for pair in find_copies(
            pictures, pixels, candidates=CANDIDATES, least=least, described=described
        ):
            name, value = rows.image[pair.second], f"{pair.correlation:.2f}"
            found[pair.first].append(f"copy of {name} of the run ({pair.change}; {value})")
        return found

    return warnings_of


def open_net(folder, record, backend):
    """The net, by the backend that is asked for or else the first that there is."""
    missing = []
    for name in [backend] if backend else BACKENDS:
        path = folder / BACKENDS[name]
        if not path.exists():
            missing.append(f"{name}: no file {path}")
            continue
        if (found := sha256_of(path)) != record["sha256"].get(path.name):
            raise InputError(f"{path}: its sha256 {found} is not that in model.json")
        try:
            return TorchNet(path) if name == "torch" else OnnxNet(path)
        except ImportError as error:
            missing.append(f"{name}: {error}")
    raise InputError(f"the net can't be run: {'; '.join(missing)}")


class TorchNet:
    backend = "torch"

    def __init__(self, path):
        import torch
        from cxr.nets.devices import select_device
        from cxr.nets.torch_nets import load_net

        self.device = select_device()
        self.net, _ = load_net(path)
        self.net.to(self.device, memory_format=torch.channels_last)

    def logits(self, pixels):
        """Logits, float32 (n, outputs), of uint8 (n, size, size)."""
        import torch
        from cxr.nets.inputs import network_input, to_device

        with torch.no_grad():
            return self.net(network_input(to_device(pixels, self.device))).cpu().numpy()

    def relevance(self, pixels, outputs, method):
        """Relevance (n, size, size) of one output, int (n,), for uint8 (n, size, size)."""
        return METHODS[method].maps(self.net, pixels, outputs, self.device, 0)


class OnnxNet:
    backend = "onnxruntime"

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )

    def logits(self, pixels):
        """Logits, float32 (n, outputs), of uint8 (n, size, size)."""
        inputs = np.ascontiguousarray(normalise(pixels).transpose(0, 3, 1, 2))
        return self.session.run(["logits"], {"pixels_normalised": inputs})[0]


# The images


def in_batches(items, size):
    """Lists of size items, the last of what is left."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def read_batch(paths, size, known):
    """Rows without predictions, and the pixels of those without an error, uint8 (n, size, size)."""
    rows, pixels = [], []
    for path in paths:
        row = dict.fromkeys(("file", "sigmoids", "calibrated", "decision", "warnings", "error"))
        row |= {"file": str(path), "warnings": [], "heatmap": None}
        try:
            square, row["warnings"], sha256 = read_radiograph(path, size)
            pixels.append(square)
            if sha256 in known:
                row["warnings"].append(f"the same file as a {known[sha256]} image of the run")
        except Exception as error:  # nothing about one image may cost the others their rows
            row["error"] = reason_of(error)
        rows.append(row)
    return rows, np.stack(pixels) if pixels else None


def add_predictions(rows, logits, outputs, temperature):
    """Add sigmoids, calibrated ones and decisions of logits (n, outputs) to n rows."""
    for row, values in zip(rows, logits.astype(np.float64), strict=True):
        row["sigmoids"] = by_output(outputs, values)
        row["calibrated"] = by_output(outputs, values / temperature) if temperature else None
        row["decision"] = outputs[values.argmax()]


def by_output(outputs, logits):
    return dict(zip(outputs, expit(logits).tolist(), strict=True))


def draw_heatmaps(rows, pixels, model, method, outputs, out, names):
    """Draw the relevance of each row's decision; False if there is none for such a net.

    names: of heatmaps so far, to which the new ones are added.
    """
    from cxr.lrp.heatmaps import save_heatmap

    decisions = np.array([outputs.index(row["decision"]) for row in rows])
    try:
        maps = model.relevance(pixels, decisions, method)
    except InputError as error:
        print(f"no heatmaps: {error}", file=sys.stderr)
        return False
    for row, relevance, square in zip(rows, maps, pixels, strict=True):
        row["heatmap"] = f"heatmaps/{new_name(Path(row['file']), names)}.png"
        save_heatmap(out / row["heatmap"], relevance, square)
    return True


def new_name(path, names):
    """A file name after path's, without its suffix, that is not yet among names; added to them."""
    stem = re.sub(r"[^\w.-]+", "_", path.stem).strip(".")[:50] or "image"
    name = next(
        name for n in count(1) if (name := f"{stem}-{n}" if n > 1 else stem).lower() not in names
    )
    names.add(name.lower())
    return name


# The tables


@contextmanager
def tables(out, head):
    """A function that writes a row to predictions.csv and predictions.json, which appear whole."""
    outputs = head["outputs"]
    columns = [
        "file", *outputs, *(f"calibrated_{name}" for name in outputs),
        "decision", "warnings", "error", "heatmap",
    ]  # fmt: skip
    with (
        atomic_write(out / "predictions.csv") as table,
        atomic_write(out / "predictions.json") as record,
        open(table, "w", newline="", encoding="utf-8", errors="backslashreplace") as csv_file,
        open(record, "w") as json_file,
    ):
        lines = csv.DictWriter(csv_file, columns, extrasaction="ignore", lineterminator="\n")
        lines.writeheader()
        json_file.write(json.dumps(head, indent=2).removesuffix("\n}") + ',\n  "images": [')
        separator = "\n"

        def write(row):
            nonlocal separator
            calibrated = {f"calibrated_{name}": v for name, v in (row["calibrated"] or {}).items()}
            flat = row | (row["sigmoids"] or {}) | calibrated
            lines.writerow(flat | {"warnings": "; ".join(row["warnings"])})
            json_file.write(f"{separator}    {json.dumps(row)}")
            separator = ",\n"

        yield write
        json_file.write("\n  ]\n}\n")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    arguments.add_argument("--net", type=Path, required=True, help="folder, as results/netC")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write to")
    arguments.add_argument("--backend", choices=list(BACKENDS), help="default: the first there is")
    arguments.add_argument("--split", type=Path, help="the run's data/covid19/split.csv")
    arguments.add_argument(
        "--method", choices=METHODS, default=SHOWN, help=f"of heatmaps; default: {SHOWN}"
    )
    arguments.add_argument(
        "--training", type=Path, nargs=2, metavar=("NPY", "CSV"),
        help="images that no others should be copies of: the run's data/covid19/train.npy and .csv",
    )  # fmt: skip
    arguments.add_argument(
        "--correlation", type=float, default=SAME, help=f"of a copy, at least; default: {SAME}"
    )
    arguments.add_argument("--no-heatmaps", dest="heatmaps", action="store_false")
    with user_errors():
        chosen = vars(arguments.parse_args())
        print(NOTE, file=sys.stderr)
        predict_images(**chosen)
