"""Convert a net from ONNX to Keras, channels last and without Lambda layers.

Takes the --keras-source that export_onnx wrote. The Keras net takes float32 (n, size, size, 3),
normalised as for ONNX, and returns logits; check_conversion compares the two.
"""

from pathlib import Path

from cxr.cli import InputError, parser, user_errors
from cxr.nets.keras_nets import convert, save_net


def convert_keras(keras_source, model):
    if model.suffix != ".h5":
        raise InputError(f"{model}: expected a name that ends in .h5")
    save_net(model, *convert(keras_source))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--keras-source", type=Path, required=True, help=".onnx to convert")
    arguments.add_argument("--model", type=Path, required=True, help=".h5 to write")
    with user_errors():
        convert_keras(**vars(arguments.parse_args()))
