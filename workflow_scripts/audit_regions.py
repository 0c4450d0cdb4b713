"""Audit: what nets still decide rightly when the lungs, or all but the lungs, are blacked out.

Lungs are an ellipse in the middle (cxr/audits.py), no segmentation. A net that reads lungs falls to
chance, one third, without them.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import LabelledImages, open_by_class
from cxr.audits import lungs, plot_intervals, save_audit
from cxr.devices import take_device
from cxr.logs import pair, parser, progress, user_errors
from cxr.metrics import proportion_interval
from cxr.nets import load_net
from cxr.prediction import predict_logits


def audit_regions(nets, images, out):
    device = take_device()
    rows = []
    for name, path in progress(nets.items(), "nets"):
        net, description = load_net(path)
        data = open_by_class(images, description["outputs"])
        inside = lungs(data.shape[0])
        for region, kept in {
            "all": np.ones_like(inside), "without lungs": ~inside, "lungs alone": inside
        }.items():  # fmt: skip
            masked = np.where(kept, data.pixels(np.arange(len(data))), 0).astype(np.uint8)
            part = LabelledImages(
                [masked], data.array_of, data.row_of, data.labels, data.outputs, data.images
            )
            logits = predict_logits(net.to(device), part, device)
            right = int((logits.argmax(axis=1) == data.labels.argmax(axis=1)).sum())
            low, high = proportion_interval(right, len(data))
            rows.append((name, region, right / len(data), low, high, len(data)))
    columns = ["net", "region", "accuracy", "accuracy_low", "accuracy_high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    means = table.groupby("region").accuracy.mean()
    result = (
        f"mean accuracy of the nets {means['all']:.0%}; with the lungs blacked out "
        f"{means['without lungs']:.0%}, with the lungs alone {means['lungs alone']:.0%} "
        f"(chance {1 / 3:.0%}; lungs are a central ellipse)"
    )
    save_audit(out, table, result, "report")
    plot_intervals(
        out.with_suffix(".svg"), table.net + ", " + table.region, table.accuracy,
        table.accuracy_low, table.accuracy_high, "accuracy on the test images", (1 / 3, "chance"),
    )  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    arguments.add_argument("--images", type=Path, required=True, help="test images (.npy)")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_regions(**chosen | {"nets": dict(chosen["nets"])})
