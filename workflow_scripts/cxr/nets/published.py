"""Nets as publish_net writes them, run by PyTorch or by ONNX Runtime alone."""

import math
import os
from functools import cache

import numpy as np
from scipy.special import expit

from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.contents import read_json, read_records
from cxr.data.images import normalise
from cxr.lrp.methods import METHODS

BACKENDS = {"torch": "model.safetensors", "onnxruntime": "model.onnx"}


class Net:
    """A net as publish_net writes it, opened."""

    def __init__(self, folder, backend):
        record = read_record(folder)
        self.name, self.outputs, self.size = str(folder), record["outputs"], record["image_size"]
        self.temperature, self.digests = read_temperature(folder), record["sha256"].values()
        self.model = open_net(folder, record, backend)
        self.head = {
            "architecture": record["architecture"],
            "outputs": self.outputs,
            "sha256": record["sha256"][BACKENDS[self.model.backend]],
            "backend": self.model.backend,
            "temperature": self.temperature,
        }

    def predict(self, pixels):
        """Sigmoids, calibrated ones and the decision for each image.

        pixels: {image size: uint8 (n, size, size)}.
        """
        found = []
        for logits in self.model.logits(pixels[self.size]).astype(np.float64):
            calibrated = (
                by_output(self.outputs, logits / self.temperature) if self.temperature else None
            )
            found.append(
                {
                    "sigmoids": by_output(self.outputs, logits),
                    "calibrated": calibrated,
                    "decision": self.outputs[logits.argmax()],
                }
            )
        return found


def by_output(outputs, logits):
    return dict(zip(outputs, expit(logits).tolist(), strict=True))


def read_record(folder):
    """model.json of publish_net, as a mapping."""
    path = folder / "model.json"
    expected = {"architecture": str, "outputs": list, "image_size": int, "sha256": dict}
    try:
        record = read_json(path, expected, "model.json of publish_net")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{path}: no such file; a net is a folder as results/netC") from error
    if wrong := [key for key, kind in expected.items() if not isinstance(record[key], kind)]:
        raise InputError(f"{path}: {wrong[0]} is {record[wrong[0]]!r}; not written by publish_net")
    return record


def read_temperature(folder):
    """The temperature of calibration.csv; None where there is no such file, or none was fitted."""
    path = folder / "calibration.csv"
    return fitted_temperature(path) if path.exists() else None


def fitted_temperature(path):
    """The temperature of calibrate's table; None if none was fitted."""
    rows = read_records(path, ["calibration", "fitted", "temperature"])
    try:
        after = {row["calibration"]: row for row in rows}["after"]
        temperature = float(after["temperature"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: not written by calibrate") from error
    if not 0 < temperature < math.inf:
        raise InputError(f"{path}: the temperature is {temperature}, expected a positive number")
    return temperature if after["fitted"] == "True" else None


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


@cache
def selected_device():
    from cxr.nets.devices import select_device

    return select_device()


class TorchNet:
    backend = "torch"

    def __init__(self, path):
        import torch

        from cxr.nets.torch_nets import load_net

        self.device = selected_device()
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
