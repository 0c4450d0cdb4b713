"""AUROC per finding of a net on ChestX-ray14's test images."""

from pathlib import Path

import pandas as pd
from cxr.arrays import open_by_split
from cxr.files import write_table
from cxr.logs import parser, user_errors
from cxr.nets import load_net
from cxr.training import best_device, predict_logits
from sklearn.metrics import roc_auc_score


def evaluate_findings(net, images, split, out):
    net, description = load_net(net)
    outputs = description["outputs"]
    test = open_by_split(images, split, "test", outputs)
    device = best_device()
    logits = predict_logits(net.to(device), test, device)
    rows = []
    for number, finding in enumerate(outputs):
        labels = test.labels[:, number]
        both = 0 < labels.sum() < len(labels)  # else AUROC is not defined: the cell stays empty
        auroc = roc_auc_score(labels, logits[:, number]) if both else None
        rows.append((finding, int(labels.sum()), len(labels), auroc))
    write_table(out, pd.DataFrame(rows, columns=["finding", "positive", "n", "auroc"]))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        evaluate_findings(**vars(arguments.parse_args()))
