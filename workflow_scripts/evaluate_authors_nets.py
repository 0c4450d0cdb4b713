"""Accuracy on our test images of the nets that the paper's authors released.

They are of the paper's final version (2021), and the order of their classes is not documented: all
six orders are tried, and the best accuracy only hints at the order. The split that they were
trained on is not known: our test images may be among their training images.
"""

from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import open_by_class, open_images
from cxr.evaluation.intervals import share_interval
from cxr.evaluation.predictions import image_groups
from cxr.files import write_table
from cxr.nets.chexnet import load_densenet
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits


def evaluate_authors_nets(checkpoints, images, out):
    device = select_device()
    data, groups = open_by_class(images, CLASSES), image_groups(open_images(images)[1])
    rows = []
    for checkpoint in progress(checkpoints, "nets"):
        net, architecture = load_densenet(checkpoint)
        logits = predict_logits(net, data, device)
        if logits.shape[1] != len(CLASSES):
            raise InputError(
                f"{checkpoint}: {logits.shape[1]} outputs; expected one for each of {CLASSES}"
            )
        for order in permutations(CLASSES):
            right = (
                np.array(order)[logits.argmax(axis=1)]
                == np.array(CLASSES)[data.labels.argmax(axis=1)]
            )
            low, high = share_interval(right, groups)
            rows.append(
                (
                    checkpoint.stem,
                    architecture,
                    " ".join(order),
                    right.mean(),
                    low,
                    high,
                    len(right),
                )
            )
    columns = ["net", "architecture", "outputs", "accuracy", "accuracy_low", "accuracy_high", "n"]
    write_table(out, pd.DataFrame(rows, columns=columns))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--checkpoints", type=Path, nargs="+", required=True, help="NetA.pt ...")
    arguments.add_argument("--images", type=Path, required=True, help="test images (.npy)")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        evaluate_authors_nets(**vars(arguments.parse_args()))
