"""Predict external sets by several nets: what each says of images from elsewhere.

Writes net, set, image, class, group, and the logit of each output; evaluate_external makes sigmoids
and decisions of them.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import ImageSet
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.torch_nets import load_net
from predict import logits_of


def predict_external(nets, images, tables, out):
    device, found = select_device(), []
    for net_name, checkpoint in progress(nets.items(), "nets"):
        net, description = load_net(checkpoint)
        if sorted(description["outputs"]) != sorted(CLASSES):
            raise InputError(f"{checkpoint}: outputs {description['outputs']}, not {CLASSES}")
        for name, array in images.items():
            logits = logits_of(net, ImageSet(array, tables[name]), description["outputs"], device)
            found.append(logits.assign(net=net_name, set=name))
    columns = ["net", "set", "image", "class", "group", *CLASSES]
    write_table(out, pd.concat(found)[columns])


if __name__ == "__main__":
    arguments = parser(__doc__)
    named = (("nets", "NET=CHECKPOINT"), ("images", "SET=NPY"), ("tables", "SET=CSV"))
    for name, form in named:
        arguments.add_argument(f"--{name}", type=pair(Path), nargs="+", required=True, metavar=form)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        predict_external(**chosen | {name: dict(chosen[name]) for name, _ in named})
