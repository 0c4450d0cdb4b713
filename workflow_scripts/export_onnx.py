"""Export a net as ONNX: model.onnx for use, and the form that convert_keras takes.

model.onnx takes `pixels_normalised`, float32 (n, 3, size, size): grey in [0, 1], repeated to three
channels, minus ImageNet's mean, divided by its standard deviation. It returns `logits`, float32
(n, outputs), before the sigmoid. Its metadata `net` says which output is which.

Also writes logits.csv, for the check: image, class, backend (torch, onnxruntime), a column
of logits per output.
"""

from pathlib import Path

import pandas as pd
import torch
from cxr.cli import InputError, add_threads, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.files import write_table
from cxr.nets.onnx_export import (
    check_convertible,
    export,
    export_keras_source,
    onnxruntime_logits,
    torch_logits,
)
from cxr.nets.torch_nets import load_net


def export_onnx(net, images, onnx, keras_source, logits, threads):
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("error")
    model, description = load_net(net)
    check_convertible(model, description, net)
    pixels, table = open_images(images)
    size = description["image_size"]
    if pixels.shape[1:] != (size, size) or not len(pixels):
        raise InputError(f"{images}: array {pixels.shape}; the net takes (n, {size}, {size})")
    export_keras_source(model, description, keras_source)
    export(model, description, onnx)
    by_backend = {
        "torch": torch_logits(model, pixels),
        "onnxruntime": onnxruntime_logits(onnx, pixels, threads),
    }
    named = table[["image", "class"]]
    rows = [
        pd.concat(
            [named.assign(backend=backend), pd.DataFrame(values, columns=description["outputs"])],
            axis=1,
        )
        for backend, values in by_backend.items()
    ]
    write_table(logits, pd.concat(rows))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors of the net")
    add_image_set(arguments, "--images", "the test images")
    arguments.add_argument("--onnx", type=Path, required=True, help="model.onnx to write")
    arguments.add_argument("--keras-source", type=Path, required=True, help=".onnx to write")
    arguments.add_argument("--logits", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        export_onnx(**vars(arguments.parse_args()))
