"""Test which nets differ, and state which differences the test images can detect.

Every pair of nets is compared on the edited test images after the last phase, by the exact McNemar
test of correct predictions and by DeLong's test of the AUROC of COVID-19 against the rest; p values
are corrected over all pairs by Holm's method. Writes net, other, n, only_net_right,
only_other_right, p, covid19_auc and other_covid19_auc, p_auc, p_holm, p_auc_holm, smallest, and
finding. `smallest` is the smallest number of images that, if only one of the nets had all of them
right, would make the pair differ.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, user_errors
from cxr.evaluation.metrics import compare_aurocs, final_predictions, read_predictions
from cxr.files import write_table
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05


def compare_nets(predictions, out):
    tables = {
        net: final_predictions(read_predictions(path)).set_index("image")
        for net, path in predictions.items()
    }
    images = next(iter(tables.values())).index
    for net, path in predictions.items():
        if not tables[net].index.equals(images):
            raise InputError(f"{path}: the test images differ from the first net's")
    rows = [
        (net, other, len(images), *compare(tables[net], tables[other]))
        for net, other in combinations(tables, 2)
    ]
    columns = ["net", "other", "n", "only_net_right", "only_other_right", "p"]
    table = pd.DataFrame(rows, columns=[*columns, "covid19_auc", "other_covid19_auc", "p_auc"])
    for name in ("p", "p_auc"):
        holm = multipletests(table[name], LEVEL, method="holm")[1] if len(table) else []
        table[f"{name}_holm"] = holm
    table["smallest"] = smallest_difference(len(table))
    table["finding"] = [describe(row) for row in table.itertuples()]
    write_table(out, table)


def compare(one, other):
    """Images that one net alone has right, McNemar's p, both AUROCs of COVID-19, DeLong's p."""
    right = [table["class"] == table.predicted for table in (one, other)]
    only = int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())
    cells = [[0, only[0]], [only[1], 0]]  # those on which they agree play no part
    p = min(mcnemar(cells, exact=True).pvalue, 1.0)
    is_covid19 = (one["class"] == "covid19").to_numpy()
    areas = compare_aurocs(is_covid19, one.covid19.to_numpy(), other.covid19.to_numpy())
    return *only, p, *areas[:2], areas[3]


def smallest_difference(pairs):
    """Images that one net alone must have right, the other none, for p below LEVEL after Holm.

    The smallest p of several pairs is multiplied by their number; that of n such images is 2 / 2^n.
    """
    return int(np.floor(1 + np.log2(max(pairs, 1) / LEVEL))) + 1


def describe(row):
    auc = f"AUROC of COVID-19 {row.covid19_auc:.3f} and {row.other_covid19_auc:.3f}, "
    auc += f"p = {row.p_auc_holm:.2g}"
    least = f"{row.smallest} of {row.n} images ({row.smallest / row.n:.1%})"
    if row.p_holm < LEVEL:
        better = row.net if row.only_net_right > row.only_other_right else row.other
        return f"{better} is better (p = {row.p_holm:.2g} after Holm); {auc}"
    return f"not told apart: nothing below {least}, all in one direction, could be; {auc}"


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = arguments.parse_args()
    with user_errors():
        compare_nets(dict(chosen.predictions), chosen.out)
