"""Audit: what nets still decide rightly when the lungs, or all but the lungs, are blacked out.

Once as they were trained, and once with an output layer that is trained anew on train images with
the same part blacked out (a logistic regression of the features below it). Lungs are an ellipse in
the middle (cxr/audits.py), no segmentation. A net that reads lungs falls to chance, one third,
without them; images that a new output layer can tell apart without lungs can be told apart by
something else.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import open_by_class
from cxr.audits import linear_model, lungs, plot_intervals, save_audit
from cxr.batches import CachedFeatures
from cxr.devices import take_device
from cxr.logs import pair, parser, progress, user_errors
from cxr.metrics import proportion_interval
from cxr.nets import load_net
from cxr.prediction import EVALUATION_BATCH, predict_logits


def audit_regions(nets, train, images, seed, out):
    device = take_device()
    rows = []
    for name, path in progress(nets.items(), "nets"):
        net, description = load_net(path)
        net.to(device)
        learnt, tried = (open_by_class(path, description["outputs"]) for path in (train, images))
        inside = lungs(tried.shape[0])
        for region, kept in {
            "all": np.ones_like(inside), "without lungs": ~inside, "lungs alone": inside
        }.items():  # fmt: skip
            shown = masked(tried, kept)
            model = linear_model(seed).fit(
                features(net, masked(learnt, kept), device), learnt.labels.argmax(axis=1)
            )
            decisions = {
                "as trained": predict_logits(net, shown, device).argmax(axis=1),
                "trained anew": model.predict(features(net, shown, device)),
            }
            for layer, decided in decisions.items():
                right = int((decided == tried.labels.argmax(axis=1)).sum())
                interval = proportion_interval(right, len(tried))
                rows.append((name, region, layer, right / len(tried), *interval, len(tried)))
    columns = ["net", "region", "output_layer", "accuracy", "accuracy_low", "accuracy_high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    means = table.groupby(["output_layer", "region"]).accuracy.mean()
    result = (
        f"mean accuracy of the nets {means['as trained', 'all']:.0%}; with the lungs blacked out "
        f"{means['as trained', 'without lungs']:.0%}, with a new output layer "
        f"{means['trained anew', 'without lungs']:.0%}; with the lungs alone "
        f"{means['as trained', 'lungs alone']:.0%} and {means['trained anew', 'lungs alone']:.0%} "
        f"(chance {1 / 3:.0%}; lungs are a central ellipse)"
    )
    save_audit(out, table, result, "report")
    plot_intervals(
        out.with_suffix(".svg"),
        table.net + ", " + table.region + ", " + table.output_layer,
        table.accuracy,
        table.accuracy_low, table.accuracy_high, "accuracy on the test images", (1 / 3, "chance"),
    )  # fmt: skip


def masked(data, kept):
    """The images with all pixels black but those of kept, bool (size, size)."""
    pixels = data.pixels(np.arange(len(data)))
    return data.with_pixels(np.where(kept, pixels, 0).astype(np.uint8))


def features(net, data, device):
    """What the output layer is given for each image, (n, features)."""
    found = CachedFeatures(net, data, device, EVALUATION_BATCH[device.type]).features[0]
    return found.flatten(2).mean(dim=2).cpu().numpy() if found.ndim == 4 else found.cpu().numpy()


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    arguments.add_argument("--train", type=Path, required=True, help="images, no variants (.npy)")
    arguments.add_argument("--images", type=Path, required=True, help="test images (.npy)")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_regions(**chosen | {"nets": dict(chosen["nets"])})
