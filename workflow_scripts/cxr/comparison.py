"""How far a reproduced file is from the recorded one."""

import base64
import io
import re
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

KINDS = {
    "weights": (".safetensors", ".onnx", ".h5"),
    "predictions": ("predictions.csv", "logits.csv", ".npz"),
    "pictures": (".npy", ".jpg", ".png", ".svg"),
}
TIMES = ("seconds", "images_per_second")  # columns of how long something took
NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
# Sums and compressed pictures in text: what they are of is compared itself, or below.
SUM = re.compile(r"\b(?:[0-9a-f]{64}|(?:image|p|m)[0-9a-f]{10})\b")  # the second: ids in SVGs
EMBEDDED = re.compile(r"base64,\s*([A-Za-z0-9+/=\s]+)")


def kind_of(path):
    """Kind of a file: weights, predictions, pictures (image sets, too), else tables (any text)."""
    name = Path(path).name
    return next((kind for kind, ends in KINDS.items() if name.endswith(ends)), "tables")


def difference(before, after, kind, python=None):
    """(size, first) of the difference between two files; inf where they can't be compared.

    Sizes: of weights, the largest difference, as a share of its tensor's largest weight; of
    pictures, the mean difference, as a share of white; of numbers in text, the largest one, as a
    share of the number where that is above 1, but for columns of TIMES and a page's cells of class
    seconds. first: in words, where the
    first difference is. python: interpreter that has h5py, for Keras's .h5.
    """
    suffix = Path(before).suffix
    try:
        if suffix in (".safetensors", ".onnx", ".npy", ".npz"):
            return _of_arrays(_arrays(before), _arrays(after), kind)
        if suffix == ".h5" and python:
            return _of_arrays(_keras_arrays(before, python), _keras_arrays(after, python), kind)
        if suffix in (".jpg", ".png"):
            return _of_arrays({"": _pixels(before)}, {"": _pixels(after)}, kind)
        return _of_text(Path(before).read_text(), Path(after).read_text())
    except UnicodeDecodeError:  # of a kind that is compared by bytes only
        return np.inf, _first_byte(before, after)
    except Exception as error:  # decoders of pictures and weights raise what they please
        return np.inf, f"not readable: {type(error).__name__}: {error}"


def _arrays(path):
    """{name: array} of a file of arrays or weights."""
    if path.suffix == ".safetensors":
        from safetensors.numpy import load_file

        return load_file(path)
    if path.suffix == ".onnx":
        import onnx

        initial = onnx.load(path).graph.initializer
        return {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in initial}
    found = np.load(path, mmap_mode="r", allow_pickle=False)
    return dict(found) if path.suffix == ".npz" else {"": found}


KERAS = """
import sys, h5py, numpy
arrays = {}
def add(name, item):
    if isinstance(item, h5py.Dataset):
        arrays[name] = item[()]
h5py.File(sys.argv[1]).visititems(add)
numpy.savez(sys.stdout.buffer, **arrays)
"""


def _keras_arrays(path, python):
    """{name: array} of a .h5, which the environment of PyTorch can't read."""
    command = [python, "-E", "-s", "-c", KERAS, path]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return dict(np.load(io.BytesIO(done.stdout), allow_pickle=False))


def _pixels(file):
    return np.asarray(Image.open(file).convert("RGBA"))


def _of_arrays(before, after, kind):
    if before.keys() != after.keys():
        return np.inf, f"arrays {sorted(before.keys() ^ after.keys())} are in one only"
    size, first = 0.0, ""
    for name, old in before.items():
        new = after[name]
        if old.shape != new.shape or old.dtype != new.dtype:
            return np.inf, f"{name}: {new.dtype} {new.shape}, was {old.dtype} {old.shape}"
        if not old.size or np.array_equal(old, new):
            continue
        if old.dtype.kind not in "biuf":
            return np.inf, f"{name}: other text"
        gap = np.abs(np.subtract(new, old, dtype=np.float64))
        place = tuple(map(int, np.argwhere(gap != 0)[0]))  # NaN is different from all
        first = first or f"{name}{list(place)}: {new[place]:.6g}, was {old[place]:.6g}"
        size = max(size, _relative(gap, old, kind))
    return (size if np.isfinite(size) else np.inf), first


def _relative(gap, old, kind):
    """The size of a difference, as difference() defines it; NaN counts as infinite."""
    if not np.isfinite(gap).all():
        return np.inf
    if kind == "pictures":
        return gap.mean() / (255 if old.dtype.kind in "iu" else max(1, np.abs(old).max()))
    if kind == "weights":
        return gap.max() / max(float(np.abs(old).max()), 1e-12)
    return (gap / np.maximum(1, np.abs(old.astype(np.float64)))).max()


def _of_text(before, after):
    size, first = 0.0, ""
    timeless = [_without_times(text) for text in (before, after)]
    if before != after and timeless[0] == timeless[1]:
        return 0.0, f"nothing but how long it took: {', '.join(TIMES)}"
    before, after = timeless
    pictures = [EMBEDDED.findall(text) for text in (before, after)]
    if len(pictures[0]) != len(pictures[1]):
        return np.inf, f"{len(pictures[1])} pictures, were {len(pictures[0])}"
    for old, new in zip(*pictures, strict=True):
        if old != new:
            decoded = (_pixels(io.BytesIO(base64.b64decode(text))) for text in (old, new))
            gap, place = _of_arrays(*({"picture": pixels} for pixels in decoded), "pictures")
            size, first = max(size, gap), first or place
    lines = [EMBEDDED.sub("", SUM.sub("SUM", text)).splitlines() for text in (before, after)]
    for number, (old, new) in enumerate(zip(*lines, strict=False), start=1):
        if old == new:
            continue
        first = first or f"line {number}: {_shown(new, old)}, was {_shown(old, new)}"
        if NUMBER.split(old) != NUMBER.split(new):
            return np.inf, f"line {number}: {_shown(new, old)}, was {_shown(old, new)}"
        values = (map(float, NUMBER.findall(line)) for line in (old, new))
        size = max(size, *(abs(a - b) / max(1, abs(a)) for a, b in zip(*values, strict=True)))
    if len(lines[0]) != len(lines[1]):
        return np.inf, first or f"{len(lines[1])} lines, were {len(lines[0])}"
    return size, first or "sums of other files"


def _without_times(text):
    """Text without a page's cells of times, or the columns TIMES of a CSV that has all of them."""
    text = re.sub('(<td class="seconds"[^>]*>)[^<]*', r"\1", text)
    names = text.partition("\n")[0].split(",")
    if not set(TIMES) <= set(names):
        return text
    kept = [place for place, name in enumerate(names) if name not in TIMES]
    rows = [line.split(",") for line in text.splitlines()]
    if any(len(row) != len(names) for row in rows):  # quoted commas: as it is
        return text
    return "\n".join(",".join(row[place] for place in kept) for row in rows) + "\n"


def _shown(line, other):
    """The part of a line around the first character in which it differs from another."""
    place = next(
        (at for at, (a, b) in enumerate(zip(line, other, strict=False)) if a != b),
        min(len(line), len(other)),
    )
    return repr(line[max(0, place - 20) : place + 20])


def _first_byte(before, after):
    with open(before, "rb") as old, open(after, "rb") as new:
        offset = 0
        while True:
            left, right = old.read(1 << 20), new.read(1 << 20)
            if left != right or not left:
                break
            offset += len(left)
    same = next(
        (at for at, (a, b) in enumerate(zip(left, right, strict=False)) if a != b),
        min(len(left), len(right)),
    )
    return f"byte {offset + same}"
