"""Explain the prediction of every test image by layer-wise relevance propagation, in PyTorch.

Relevance is of the logit of the predicted class. Writes

relevance: .npz of float32 (n, size, size), named `relevance`, in the order of the table;
table: CSV of image, true_class, class (the predicted one), method, logit, relevance_sum and
  conservation_error, |relevance_sum - logit| / |logit|.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.files import atomic_write, write_table
from cxr.lrp.heatmaps import conservation_error
from cxr.lrp.pytorch import METHODS, relevance_maps
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net


def explain_test_set(net, images, method, relevance, table):
    device = select_device()
    net, description = load_net(net)
    outputs = np.array(description["outputs"])
    data = open_by_class(images, outputs)
    decisions = predict_logits(net.to(device), data, device).argmax(axis=1)
    found = relevance_maps(net, open_images(images)[0], decisions, [method], device)
    maps, logits = found[method]
    sums = maps.sum(axis=(1, 2), dtype=np.float64)
    with atomic_write(relevance) as temporary:
        np.savez_compressed(temporary, relevance=maps)
    columns = {
        "image": data.images,
        "true_class": outputs[data.labels.argmax(axis=1)],
        "class": outputs[decisions],
        "method": method,
        "logit": logits,
        "relevance_sum": sums,
        "conservation_error": conservation_error(sums, logits),
    }
    write_table(table, pd.DataFrame(columns))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--images", "test images")
    arguments.add_argument("--method", choices=METHODS, required=True, help="of LRP")
    arguments.add_argument("--relevance", type=Path, required=True, help=".npz to write")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    with user_errors():
        explain_test_set(**vars(arguments.parse_args()))
