"""Convert a net from ONNX to Keras, channels last and without Lambda layers, and check it.

Takes the --keras-source that export_onnx wrote; without it, the Keras net that is there is only
checked. The net takes float32 (n, size, size, 3), normalised as for ONNX, and returns logits.

Fails, and writes no table, if in any backend a test image is classified differently from PyTorch
(by the largest logit), or a logit differs by more than --tolerance or is not a number. Writes
conversion.csv: backend, n, accuracy, max_abs_logit_difference, disagreements.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import InputError, add_threads, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.evaluation.conversion import ConversionMismatch, compare_backends, read_logits
from cxr.files import write_table
from cxr.nets.keras_nets import convert, keras_logits, load_net, use_threads


def convert_keras(keras_source, images, logits, tolerance, model, conversion, threads):
    use_threads(threads)
    if model.suffix != ".h5":
        raise InputError(f"{model}: expected a name that ends in .h5")
    if keras_source:
        convert(keras_source, model)
    net, description = load_net(model)  # as it is stored
    pixels, table = open_images(images)
    by_backend = read_logits(logits, table, description["outputs"])
    by_backend["keras"] = pd.DataFrame(
        keras_logits(net, pixels), columns=description["outputs"], index=table.image
    )
    try:
        compared = compare_backends(by_backend, table["class"].to_numpy(), tolerance)
    except ConversionMismatch as error:
        raise ConversionMismatch(f"{model}: {error}") from None
    write_table(conversion, compared)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--keras-source", type=Path, help=".onnx to convert")
    add_image_set(arguments, "--images", "the test images")
    arguments.add_argument("--logits", type=Path, required=True, help="CSV of export_onnx")
    arguments.add_argument("--tolerance", type=float, default=1e-3, help="default: 1e-3")
    arguments.add_argument("--model", type=Path, required=True, help=".h5 to write")
    arguments.add_argument("--conversion", type=Path, required=True, help="CSV to write")
    add_threads(arguments)
    with user_errors():
        convert_keras(**vars(arguments.parse_args()))
