"""Publish a trained net for use elsewhere: its weights, and a JSON that describes them.

The JSON holds architecture, outputs in order, how an image becomes the net's input, sha256 of the
weights and of model.onnx, the scores on the edited test images, and how the backends compare.
"""

import json
import shutil
from pathlib import Path

from cxr.checksums import sha256_of
from cxr.cli import parser, user_errors
from cxr.data.images import IMAGENET_MEAN, IMAGENET_STD
from cxr.files import atomic_write, write_file
from cxr.nets.descriptions import read_description
from cxr.tables import read_table


def publish_net(checkpoint, onnx, summary, metrics, conversion, out, record):
    description = read_description(checkpoint)
    with atomic_write(out) as temporary:
        shutil.copyfile(checkpoint, temporary)
    size = description["image_size"]
    described = description | {
        "input": {
            "shape": ["n", 3, size, size],
            "dtype": "float32",
            "steps": [
                "grey, 8 bits, by Pillow's convert('L')",
                f"resized to {size} x {size}, by Pillow's bilinear filter",
                "divided by 255, repeated to three channels",
                "minus mean, divided by std, per channel",
            ],
            "mean": [round(float(value), 3) for value in IMAGENET_MEAN],
            "std": [round(float(value), 3) for value in IMAGENET_STD],
        },
        "output": "logits; probabilities are their sigmoids, the decision is the largest",
        "sha256": {path.name: sha256_of(path) for path in (out, onnx)},
        "test": rows_of(summary)[0],
        "classes": rows_of(metrics),
        "conversion": rows_of(conversion),
        "note": "Research only, not a medical device.",
    }
    write_file(record, json.dumps(described, indent=2) + "\n")


def rows_of(path):
    """Rows of a CSV; what is empty there is null in JSON."""
    return json.loads(read_table(path).to_json(orient="records"))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint of the last phase"
    )
    arguments.add_argument("--onnx", type=Path, required=True, help="model.onnx")
    for name in ("summary", "metrics", "conversion"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV of this net")
    arguments.add_argument("--out", type=Path, required=True, help=".safetensors to write")
    arguments.add_argument("--record", type=Path, required=True, help="model.json to write")
    with user_errors():
        publish_net(**vars(arguments.parse_args()))
