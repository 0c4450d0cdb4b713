"""Predict the test images, edited and unedited, with the net of each phase.

Writes image, class, version, phase, the sigmoid of each output, and the prediction: the class with
the largest sigmoid.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.cli import parser, progress, user_errors
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import add_image_set, open_by_class
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from scipy.special import expit


def predict(checkpoints, edited, unedited, out):
    device = select_device()
    tables = []
    for phase, checkpoint in enumerate(progress(checkpoints, "phases"), start=1):
        net, description = load_net(checkpoint)
        net = net.to(device, memory_format=torch.channels_last)
        outputs = description["outputs"]
        for version, path in (("edited", edited), ("unedited", unedited)):
            images = open_by_class(path, outputs)
            logits = predict_logits(net, images, device).astype(np.float64)
            table = pd.DataFrame({"image": images.images, "version": version, "phase": phase})
            table.insert(1, "class", np.array(outputs)[images.labels.argmax(axis=1)])
            table[outputs] = expit(logits)
            table["predicted"] = np.array(outputs)[logits.argmax(axis=1)]
            tables.append(table)
    columns = ["image", "class", "version", "phase", *CLASSES, "predicted"]
    write_table(out, pd.concat(tables)[columns])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--checkpoints", type=Path, nargs="+", required=True, help="one per phase, in order"
    )
    add_image_set(arguments, "--edited", "test images, words covered")
    add_image_set(arguments, "--unedited", "test images, unedited")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        predict(**vars(arguments.parse_args()))
