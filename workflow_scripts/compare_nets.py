"""Which nets differ, and which differences the test images cannot resolve.

Every pair of nets is compared on the edited test images after the last phase by the exact McNemar
test of which are right; p values are corrected over all pairs by Holm's method. Writes net,
other, n, only_net_right, only_other_right, p, p_holm, smallest, and finding. `smallest` is the
least number of images, all of which one net alone has right, that would make a pair differ.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.files import write_table
from cxr.logs import InputError, pair, parser, user_errors
from cxr.metrics import final_predictions, read_predictions
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05


def compare_nets(predictions, out):
    right = {}
    for net, path in predictions.items():
        table = final_predictions(read_predictions(path)).set_index("image")
        right[net] = table["class"] == table.predicted
    images = next(iter(right.values())).index
    for net, path in predictions.items():
        if not right[net].index.equals(images):
            raise InputError(f"{path}: other test images than the first net's")
    rows = [compare(net, other, right[net], right[other]) for net, other in combinations(right, 2)]
    columns = ["net", "other", "n", "only_net_right", "only_other_right", "p"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = multipletests(table.p, LEVEL, method="holm")[1] if len(table) else []
    table["smallest"] = smallest_difference(len(table))
    table["finding"] = [describe(row) for row in table.itertuples()]
    write_table(out, table)


def compare(net, other, one_right, other_right):
    cells = pd.crosstab(one_right, other_right).reindex([True, False], fill_value=0)
    cells = cells.reindex([True, False], axis=1, fill_value=0).to_numpy()
    p = mcnemar(cells, exact=True).pvalue
    return net, other, len(one_right), cells[0, 1], cells[1, 0], min(p, 1.0)


def smallest_difference(pairs):
    """Images that one net alone must have right, the other none, for p below LEVEL after Holm.

    The smallest p of several pairs is multiplied by their number; that of n such images is 2 / 2^n.
    """
    return int(np.floor(1 + np.log2(max(pairs, 1) / LEVEL))) + 1


def describe(row):
    least = f"{row.smallest} of {row.n} images ({row.smallest / row.n:.1%})"
    if row.p_holm < LEVEL:
        better = row.net if row.only_net_right > row.only_other_right else row.other
        return f"{better} is better (p = {row.p_holm:.2g} after Holm)"
    return f"not told apart: nothing below {least}, all in one direction, could be"


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = arguments.parse_args()
    with user_errors():
        compare_nets(dict(chosen.predictions), chosen.out)
