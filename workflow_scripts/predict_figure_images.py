"""Predict the images of figures 2 to 4, with and without the added word, and explain them.

Only explain has the methods of iNNvestigate; the others, --methods, are computed here. Writes

--out: the columns of the images' table and the sigmoid of each output;
--relevance, --table: the maps, and a row per map, as explain writes them; conservation_error is
  empty for Grad-CAM, which does not add up.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.files import atomic_write, write_table
from cxr.lrp.heatmaps import sums_beside_logits
from cxr.lrp.methods import METHODS, heatmaps
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from scipy.special import expit


def predict_figure_images(net, images, methods, out, relevance, table):
    device = select_device()
    net, description = load_net(net)
    outputs = description["outputs"]
    logits = predict_logits(net, open_by_class(images, outputs), device)
    pixels, rows = open_images(images)
    sigmoids = pd.DataFrame(expit(logits.astype(np.float64)), columns=outputs)
    write_table(out, pd.concat([rows, sigmoids], axis=1))
    rows = rows.rename(columns={"class": "true_class", "explain": "class"})
    neurons = np.array([outputs.index(name) for name in rows["class"]])
    of_neurons = logits[np.arange(len(rows)), neurons]
    maps, explained = {}, []
    for method, found in heatmaps(net, pixels, neurons, methods, device).items():
        names = [f"{place:03d}_{name}_{method}" for place, name in enumerate(rows["class"])]
        maps |= dict(zip(names, found, strict=True))
        explained.append(
            rows.assign(**sums_beside_logits(method, found, of_neurons), relevance=names)
        )
    with atomic_write(relevance) as temporary:
        np.savez_compressed(temporary, **maps)
    none = rows.head(0).assign(method=[], logit=[], relevance=[])
    write_table(table, pd.concat(explained) if explained else none)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "images of figures 2 to 4, with a column explain")
    arguments.add_argument("--methods", nargs="*", choices=METHODS, default=[])
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--relevance", type=Path, required=True, help=".npz to write")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    with user_errors():
        predict_figure_images(**vars(arguments.parse_args()))
