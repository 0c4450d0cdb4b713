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

With --nets in place of --net, several nets with the same outputs: predictions.csv has, per output,
their mean_ and spread_ (the largest minus the smallest; of calibrated sigmoids, or of plain ones
for nets without a fitted calibration), and agreement: the share of nets whose own decision is the
output with the largest mean. That is the decision where the agreement is at least --min-agreement,
else the decision is the words "no decision". net_predictions.csv has each net's own numbers. There
are no heatmaps: each would be one net's.

Warnings: a lateral or unknown view (DICOM alone says which), inverted-looking, tiny, of another
shape, coloured or constant, the same file as an image of --split, the same picture as one of
--training, edited or not; and where the depth or the range of grey is a guess, because no tag says
it.
"""

import csv
import json
import re
import sys
from contextlib import ExitStack, contextmanager
from itertools import count, islice
from pathlib import Path

import numpy as np
from cxr.cli import InputError, parser, progress, user_errors
from cxr.contents import read_records
from cxr.data.pixels import reason_of
from cxr.data.user_images import find_images, read_radiograph
from cxr.files import atomic_write
from cxr.lrp.methods import METHODS, SHOWN
from cxr.nets.published import BACKENDS, Net

NOTE = "Research only, not a medical device."
NO_DECISION = "no decision"
BATCH = 16  # images
MIN_AGREEMENT = 0.8  # see --help for the reason
CANDIDATES, SAME = 10, 0.87  # of covid19.duplicates in config.yaml


def predict_images(
    images, net, out, backend=None, split=None, heatmaps=True, method=SHOWN, training=None,
    correlation=SAME, nets=None, min_agreement=MIN_AGREEMENT,
):  # fmt: skip
    if nets:
        predictor = Ensemble(nets, backend, min_agreement)
        if heatmaps:
            print("no heatmaps of several nets: make each net's with --net", file=sys.stderr)
    else:
        predictor = OneNet(net, backend, out, method if heatmaps else None)
    known = read_split(split) if split else {}
    copies_of = training_images(*training, correlation) if training else None
    paths = list_images(images, out)
    n_predicted, first_error = 0, None
    with tables(out, predictor) as write:
        for batch in in_batches(progress(paths, "images"), BATCH):
            rows, pixels = read_batch(batch, predictor.sizes, known)
            readable = [row for row in rows if row["error"] is None]
            if readable and copies_of:
                found = copies_of(pixels[predictor.sizes[0]])
                for row, copies in zip(readable, found, strict=True):
                    row["warnings"] += copies
            if readable:
                predictor.add_predictions(readable, pixels)
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


# The nets


class OneNet:
    """Predictions of one net, with heatmaps by a method, if any, below the folder out."""

    keys = ("file", "sigmoids", "calibrated", "decision", "warnings", "error", "heatmap")

    def __init__(self, folder, backend, out, method):
        self.net, self.out, self.method, self.names = Net(folder, backend), out, method, set()
        self.sizes, outputs = [self.net.size], self.net.outputs
        self.head = {"note": NOTE} | self.net.head
        self.columns = {
            "predictions.csv": [
                "file", *outputs, *prefixed("calibrated", outputs),
                "decision", "warnings", "error", "heatmap",
            ],
        }  # fmt: skip
        if method and self.net.model.backend != "torch":
            print("no heatmaps: they need PyTorch and model.safetensors", file=sys.stderr)
            self.method = None

    def add_predictions(self, rows, pixels):
        for row, found in zip(rows, self.net.predict(pixels), strict=True):
            row |= found
        if self.method and not draw_heatmaps(
            rows, pixels[self.net.size], self.net, self.method, self.out, self.names
        ):
            self.method = None

    def lines(self, row):
        return {"predictions.csv": [row | flat(row)]}


class Ensemble:
    """Mean and spread of nets with the same outputs, and a decision where they agree.

    The spread is the range, which needs no assumption that the nets are a sample of like ones:
    those of this study are trained in different ways.
    """

    keys = ("file", "mean", "spread", "agreement", "decision", "nets", "warnings", "error")

    def __init__(self, folders, backend, min_agreement):
        if len(folders) < 2:
            raise InputError(f"--nets has one net, {folders[0]}; give two or more, or use --net")
        if not 0 < min_agreement <= 1:
            raise InputError(f"--min-agreement is {min_agreement}, expected above 0, at most 1")
        self.nets, self.min_agreement = [Net(folder, backend) for folder in folders], min_agreement
        check_ensemble(self.nets)
        self.sizes = list(dict.fromkeys(net.size for net in self.nets))
        self.outputs = outputs = self.nets[0].outputs
        self.head = {
            "note": NOTE, "outputs": outputs, "min_agreement": min_agreement,
            "nets": [{"net": net.name} | net.head for net in self.nets],
        }  # fmt: skip
        self.columns = {
            "predictions.csv": [
                "file", *prefixed("mean", outputs), *prefixed("spread", outputs),
                "agreement", "decision", "warnings", "error",
            ],
            "net_predictions.csv": [
                "file", "net", *outputs, *prefixed("calibrated", outputs), "decision",
            ],
        }  # fmt: skip
        if plain := [net.name for net in self.nets if net.temperature is None]:
            print(f"not calibrated, plain sigmoids taken: {', '.join(plain)}", file=sys.stderr)

    def add_predictions(self, rows, pixels):
        by_net = [net.predict(pixels) for net in self.nets]
        for row, found in zip(rows, zip(*by_net, strict=True), strict=True):
            row |= combine(found, self.outputs, self.min_agreement)
            row["nets"] = dict(zip((net.name for net in self.nets), found, strict=True))

    def lines(self, row):
        return {
            "predictions.csv": [row | flat(row)],
            "net_predictions.csv": [
                {"file": row["file"], "net": name, "decision": found["decision"]} | flat(found)
                for name, found in (row.get("nets") or {}).items()
            ],
        }


def check_ensemble(nets):
    """Raise InputError unless nets have the same outputs, and none is there twice."""
    owners = {}
    for net in nets:
        if net.outputs != nets[0].outputs:
            raise InputError(
                f"{net.name}: its outputs are {', '.join(net.outputs)}, those of {nets[0].name} "
                f"{', '.join(nets[0].outputs)}; --nets takes nets with the same outputs"
            )
        for other in [owners[digest] for digest in net.digests if digest in owners]:
            raise InputError(f"--nets has one net twice: {other} and {net.name} have equal weights")
        owners |= dict.fromkeys(net.digests, net.name)


def combine(found, outputs, min_agreement):
    """Mean, spread (range), agreement and decision of an image's predictions by several nets."""
    values = np.array([list((net["calibrated"] or net["sigmoids"]).values()) for net in found])
    means = values.mean(axis=0)
    largest = outputs[means.argmax()]
    agreement = np.mean([net["decision"] == largest for net in found]).item()
    return {
        "mean": dict(zip(outputs, means.tolist(), strict=True)),
        "spread": dict(zip(outputs, np.ptp(values, axis=0).tolist(), strict=True)),
        "agreement": agreement,
        "decision": largest if agreement >= min_agreement else NO_DECISION,
    }


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


# The images


def in_batches(items, size):
    """Lists of size items, the last of what is left."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def list_images(given, out):
    """Paths of the images that are given or in given folders; says what was skipped."""
    paths, skipped = find_images(given, out.resolve())
    for reason, number in skipped.items():
        print(f"{number} files in folders skipped: {reason}", file=sys.stderr)
    if not paths:
        raise InputError(f"no image in {', '.join(map(str, given))}")
    return paths


def read_batch(paths, sizes, known):
    """Rows without predictions, and pixels of those without an error.

    Pixels are {size: uint8 (n, size, size)} for each of sizes; empty if no image can be read.
    """
    rows, pixels = [], []
    for path in paths:
        row = {"file": str(path), "warnings": [], "error": None}
        try:
            squares, row["warnings"], sha256 = read_radiograph(path, sizes)
            pixels.append(squares)
            if sha256 in known:
                row["warnings"].append(f"the same file as a {known[sha256]} image of the run")
        except Exception as error:  # nothing about one image may cost the others their rows
            row["error"] = reason_of(error)
        rows.append(row)
    by_size = zip(*pixels, strict=True)
    return rows, dict(zip(sizes, map(np.stack, by_size), strict=bool(pixels)))


def draw_heatmaps(rows, pixels, net, method, out, names):
    """Draw the relevance of each row's decision; False if there is none for such a net.

    names: of heatmaps so far, to which the new ones are added.
    """
    from cxr.lrp.heatmaps import save_heatmap

    decisions = np.array([net.outputs.index(row["decision"]) for row in rows])
    try:
        maps = net.model.relevance(pixels, decisions, method)
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
def tables(out, predictor):
    """A function that writes a row to the CSV files and predictions.json, which appear whole."""
    with ExitStack() as files:
        writers = {}
        for name, columns in predictor.columns.items():
            path = files.enter_context(atomic_write(out / name))
            file = open(path, "w", newline="", encoding="utf-8", errors="backslashreplace")
            writers[name] = csv.DictWriter(
                files.enter_context(file), columns, extrasaction="ignore", lineterminator="\n"
            )
            writers[name].writeheader()
        record = files.enter_context(atomic_write(out / "predictions.json"))
        json_file = files.enter_context(open(record, "w"))
        head = json.dumps(predictor.head, indent=2).removesuffix("\n}")
        json_file.write(head + ',\n  "images": [')
        separator = "\n"

        def write(row):
            nonlocal separator
            for name, lines in predictor.lines(row).items():
                writers[name].writerows(
                    line | {"warnings": "; ".join(row["warnings"])} for line in lines
                )
            record = {key: row.get(key) for key in predictor.keys}
            json_file.write(f"{separator}    {json.dumps(record)}")
            separator = ",\n"

        yield write
        json_file.write("\n  ]\n}\n")


def prefixed(prefix, outputs):
    return [f"{prefix}_{name}" for name in outputs]


def flat(row):
    """Columns of values by output: sigmoids under the output's name, others with a prefix."""
    columns = dict(row.get("sigmoids") or {})
    for prefix in ("calibrated", "mean", "spread"):
        columns |= {f"{prefix}_{name}": value for name, value in (row.get(prefix) or {}).items()}
    return columns


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("images", type=Path, nargs="+", metavar="IMAGE")
    chosen_nets = arguments.add_mutually_exclusive_group(required=True)
    chosen_nets.add_argument("--net", type=Path, help="folder, as results/netC")
    chosen_nets.add_argument(
        "--nets", type=Path, nargs="+", metavar="NET", help="folders, as results/net?: their mean"
    )
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
    arguments.add_argument(
        "--min-agreement", type=float, default=MIN_AGREEMENT, metavar="SHARE",
        help="with --nets: share of them, above 0, that must vote for the output with the largest "
        f"mean; where fewer do, the decision is '{NO_DECISION}'. Default: {MIN_AGREEMENT}, four "
        "of five nets, all of four or fewer, because five nets that vote at random among three "
        "classes still give a majority of three for 63%% of images, but four for 14%%. It was not "
        "chosen on data, and nets that agree can all be wrong",
    )  # fmt: skip
    arguments.add_argument("--no-heatmaps", dest="heatmaps", action="store_false")
    with user_errors():
        chosen = vars(arguments.parse_args())
        print(NOTE, file=sys.stderr)
        predict_images(**chosen)
