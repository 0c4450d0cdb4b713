"""Predict the images of figures 2 to 4, with and without the added word.

Writes the columns of the images' table and the sigmoid of each output.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.files import write_table
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from scipy.special import expit


def predict_figure_images(net, images, out):
    net, description = load_net(net)
    outputs = description["outputs"]
    cpu = torch.device("cpu")  # for a handful of images
    logits = predict_logits(net, open_by_class(images, outputs), cpu)
    sigmoids = pd.DataFrame(expit(logits.astype(np.float64)), columns=outputs)
    write_table(out, pd.concat([open_images(images)[1], sigmoids], axis=1))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "images of figures 2 to 4")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        predict_figure_images(**vars(arguments.parse_args()))
