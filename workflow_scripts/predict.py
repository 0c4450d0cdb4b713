"""Predict the test images, edited and unedited, with the net of each phase.

Writes --out: image, class, group (if the images have one), version, phase, the sigmoid of each
output, and the prediction: the class with the largest sigmoid; and --logits, of the last phase, for
calibrate: split (val, or test: edited), image, class, group, the logit of each output.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from scipy.special import expit


def predict(checkpoints, edited, unedited, val, out, logits):
    device = select_device()
    tables = []
    for phase, checkpoint in enumerate(progress(checkpoints, "phases"), start=1):
        net, description = load_net(checkpoint)
        outputs = description["outputs"]
        for version, path in (("edited", edited), ("unedited", unedited)):
            table = logits_of(net, path, outputs, device)
            if version == "edited":
                test = table.copy()
            table["predicted"] = np.array(outputs)[table[outputs].to_numpy().argmax(axis=1)]
            table[outputs] = expit(table[outputs])
            tables.append(table.assign(version=version, phase=phase))
    columns = ["image", "class", "group", "version", "phase", *CLASSES, "predicted"]
    found = pd.concat(tables)
    write_table(out, found[[name for name in columns if name in found]])
    of_splits = {"val": logits_of(net, val, outputs, device), "test": test}
    write_table(logits, pd.concat(table.assign(split=name) for name, table in of_splits.items()))


def logits_of(net, images, outputs, device):
    """A row per image: image, class, perhaps group, and the logit of each output, float64."""
    data, (_, rows) = open_by_class(images, outputs), open_images(images)
    table = rows[[name for name in ("image", "class", "group") if name in rows]].copy()
    table[outputs] = predict_logits(net, data, device).astype(np.float64)
    return table


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--checkpoints", type=Path, nargs="+", required=True, help="one per phase, in order"
    )
    add_image_set(arguments, "--edited", "test images, words covered")
    add_image_set(arguments, "--unedited", "test images, unedited")
    add_image_set(arguments, "--val", "validation images")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--logits", type=Path, required=True, help="CSV to write")
    with user_errors():
        predict(**vars(arguments.parse_args()))
