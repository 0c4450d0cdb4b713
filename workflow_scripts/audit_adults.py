"""Audit: what do nets call adults without a finding?

The database's normal images are of children in one hospital. ChestX-ray14's No Finding test images
are of adults elsewhere: a net that tells sources or ages apart, not diseases, calls them COVID-19.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import LabelledImages, open_by_split
from cxr.audits import plot_intervals, save_audit
from cxr.devices import take_device
from cxr.logs import InputError, pair, parser, progress, user_errors
from cxr.metrics import proportion_interval
from cxr.nets import load_net
from cxr.prediction import predict_logits


def audit_adults(nets, images, split, most, seed, out):
    device = take_device()
    adults = without_finding(open_by_split(images, split, "test", ["No Finding"]), most, seed)
    rows = []
    for name, path in progress(nets.items(), "nets"):
        net, description = load_net(path)
        decisions = predict_logits(net.to(device), adults, device).argmax(axis=1)
        for number, output in enumerate(description["outputs"]):
            n = int((decisions == number).sum())
            interval = proportion_interval(n, len(adults))
            rows.append((name, output, n / len(adults), *interval, len(adults)))
    columns = ["net", "decision", "share", "share_low", "share_high", "n"]
    table = pd.DataFrame(rows, columns=columns)
    covid19 = table[table.decision == "covid19"]
    result = (
        f"of {len(adults)} adults without a finding the nets call {covid19.share.min():.0%} to "
        f"{covid19.share.max():.0%} COVID-19"
    )
    save_audit(out, table, result, "report")
    plot_intervals(
        out.with_suffix(".svg"), covid19.net, covid19.share, covid19.share_low,
        covid19.share_high, "adults without a finding called COVID-19",
    )  # fmt: skip


def without_finding(data, most, seed):
    """At most so many of the images that are labelled No Finding, drawn at random."""
    places = np.flatnonzero(data.labels[:, 0] == 1)
    if not len(places):
        raise InputError("no test image of ChestX-ray14 is labelled No Finding")
    places = np.sort(np.random.default_rng(seed).permutation(places)[:most])
    return LabelledImages(
        data.arrays, data.array_of[places], data.row_of[places], data.labels[places],
        data.outputs, data.images.iloc[places],
    )  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--most", type=int, required=True, help="images, at most")
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_adults(**chosen | {"nets": dict(chosen["nets"])})
