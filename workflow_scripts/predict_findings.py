"""Predict ChestX-ray14's validation and test images with a net that was pretrained on findings.

Writes --out: image, split (val or test), the logit of each output. Images that can't be used are
left out.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.image_sets import open_by_split
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net


def predict_findings(net, images, tables, split, out):
    net, description = load_net(net)
    outputs = description["outputs"]
    device = select_device()
    predicted = []
    for name in progress(("val", "test"), "splits"):
        chosen = open_by_split(images, split, name, outputs, tables)
        table = pd.DataFrame({"image": chosen.images.to_numpy(), "split": name})
        table[outputs] = predict_logits(net, chosen, device).astype(np.float64)
        predicted.append(table)
    write_table(out, pd.concat(predicted))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--tables", type=Path, nargs="+", required=True, help="their CSVs")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        predict_findings(**vars(arguments.parse_args()))
