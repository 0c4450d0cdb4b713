"""AUROC per finding of a net on ChestX-ray14's test images.

With --min-mean-auroc, a lower mean over the findings (without No Finding) stops the step: weights
that were loaded under wrong names, or into the wrong layers, give a net that runs but has learnt
nothing (mean AUROC near 0.5).
"""

from pathlib import Path

import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.chestxray14 import NO_FINDING
from cxr.data.image_sets import open_by_split
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from sklearn.metrics import roc_auc_score


def evaluate_findings(net, images, split, out, min_mean_auroc=0.0, tables=None):
    path, (net, description) = net, load_net(net)
    outputs = description["outputs"]
    test = open_by_split(images, split, "test", outputs, tables)
    device = select_device()
    logits = predict_logits(net.to(device), test, device)
    rows = []
    for number, finding in enumerate(outputs):
        labels = test.labels[:, number]
        both = 0 < labels.sum() < len(labels)  # else AUROC is not defined: the cell stays empty
        auroc = roc_auc_score(labels, logits[:, number]) if both else None
        rows.append((finding, int(labels.sum()), len(labels), auroc))
    table = pd.DataFrame(rows, columns=["finding", "positive", "n", "auroc"])
    mean = table.auroc[table.finding != NO_FINDING].mean()
    if min_mean_auroc and not mean >= min_mean_auroc:  # written so that no AUROC at all fails
        raise InputError(
            f"{path}: mean AUROC {mean:.3f} on {len(test)} test images, expected at least "
            f"{min_mean_auroc}: were the weights loaded into the right layers?"
        )
    write_table(out, table)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--tables", type=Path, nargs="+", required=True, help="their CSVs")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument(
        "--min-mean-auroc", type=float, default=0.0, help="smallest mean; default: 0"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        evaluate_findings(**vars(arguments.parse_args()))
