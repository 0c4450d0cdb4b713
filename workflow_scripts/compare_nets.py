"""Test which nets differ, and state which differences the test images can detect.

Every pair of nets is compared on the edited test images after the last phase, by the exact exchange
test of correct predictions (McNemar's, where images are independent) and by DeLong's test of the
AUROC of COVID-19 against the rest. Both count images of a group together. p values are corrected
over all pairs by Holm's method. Writes net, other, n, only_net_right, only_other_right, difference
of the accuracies with its interval, p, covid19_auc and other_covid19_auc, p_auc, p_holm,
p_auc_holm, smallest, detectable, and finding.

`smallest` is the number of images, each a group of its own, that would make a pair differ if only
one of the nets had all of them right, and no other pair differed: a threshold of the test.
`detectable` is the share of images on which one net, and never the other, has to be right for the
test to reach that threshold in 80 % of test sets of this size.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.evaluation.intervals import LEVEL, exchange_test, paired_interval
from cxr.evaluation.predictions import correct, image_groups, read_same_images
from cxr.evaluation.scores import compare_aurocs
from cxr.files import write_table
from scipy.stats import beta
from statsmodels.stats.multitest import multipletests

POWER = 0.8
COLUMNS = [
    "net", "other", "n", "only_net_right", "only_other_right", "difference", "difference_low",
    "difference_high", "p", "covid19_auc", "other_covid19_auc", "p_auc",
]  # fmt: skip


def compare_nets(predictions, out):
    tables = read_same_images(predictions)
    rows = [
        (net, other, *compare(tables[net], tables[other])) for net, other in combinations(tables, 2)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("p", "p_auc"):
        holm = multipletests(table[name], LEVEL, method="holm")[1] if len(table) else []
        table[f"{name}_holm"] = holm
    table["smallest"] = smallest_difference(len(table))
    rest = np.maximum(table.n - table.smallest + 1, 0)
    table["detectable"] = beta.ppf(POWER, table.smallest, rest)  # nan: not on so few images
    table["finding"] = [describe(row) for row in table.itertuples()]
    write_table(out, table)


def compare(one, other):
    """A row of COLUMNS but the names of the nets."""
    groups, difference = image_groups(one), correct(one) - correct(other)
    only = int((difference > 0).sum()), int((difference < 0).sum())
    found = difference.mean(), *paired_interval(difference, groups)
    p = exchange_test(difference, groups)
    is_covid19 = (one["class"] == "covid19").to_numpy()
    scores = one.covid19.to_numpy(), other.covid19.to_numpy()
    area, other_area, _, p_auc = compare_aurocs(is_covid19, *scores, groups)
    return len(one), *only, *found, p, area, other_area, p_auc


def smallest_difference(pairs):
    """Images that one net alone must have right, the other none, for p below LEVEL after Holm.

    The smallest p of several pairs is multiplied by their number; that of n such images is 2 / 2^n.
    """
    return int(np.floor(1 + np.log2(max(pairs, 1) / LEVEL))) + 1


def describe(row):
    auc = f"AUROC of COVID-19 {row.covid19_auc:.3f} and {row.other_covid19_auc:.3f}, "
    auc += f"p = {row.p_auc_holm:.2g}"
    if max(row.covid19_auc, row.other_covid19_auc) == 1:
        auc += " (too large: DeLong's test hardly rejects where an area is 1)"
    better = row.net if row.difference > 0 else row.other
    if row.p_holm < LEVEL:
        return f"{better} is better (p = {row.p_holm:.2g} after Holm); {auc}"
    if row.p_auc_holm < LEVEL:
        better = row.net if row.covid19_auc > row.other_covid19_auc else row.other
        return f"{better} ranks COVID-19 better; accuracies do not differ significantly; {auc}"
    if not row.detectable < 1:
        return f"no significant difference; {row.n} images are too few for one; {auc}"
    return (
        f"no significant difference; one detectable with 80 % power: {row.detectable:.1%} of the "
        f"images right by one net only; {auc}"
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = arguments.parse_args()
    with user_errors():
        compare_nets(dict(chosen.predictions), chosen.out)
