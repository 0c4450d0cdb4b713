"""Judge what the paper claims about nets: on our test images, and by the numbers that it prints.

A row per claim and source. Of `this run`: the difference of the accuracies (of means over nets,
where a claim is about several), its 95 % interval, and p, both for the same images and by groups
of images; p is by the exact exchange test (McNemar's, of two nets and independent images): how
often a difference at least as large, in either direction, would come about if each image were as
likely to be right by the one as by the other. images_needed: test images, like these, on which the
difference found would be significant with 80 % power. A claim that nets are equal holds where the
interval lies within its limit; images_needed is what that takes with 80 % power.

Of `paper`: as it prints numbers and no predictions, p and the interval are the largest that any
overlap of the nets' errors allows. Nets are compared as trained once: another seed is not in p.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.evaluation.intervals import LEVEL, exchange_test, images_needed, paired_interval
from cxr.evaluation.predictions import correct, image_groups, read_same_images
from cxr.files import write_table

COLUMNS = [
    "claim", "source", "n", "difference", "difference_low", "difference_high", "only_better_right",
    "only_other_right", "p", "images_needed", "finding",
]  # fmt: skip


def judge_claims(predictions, claims, accuracies, n_paper, out):
    rows = []
    for claim in claims:
        rows.append((claim["claim"], "this run", *of_this_run(claim, predictions)))
        rows.append((claim["claim"], "paper", *of_the_paper(claim, accuracies, n_paper)))
    table = pd.DataFrame(rows, columns=COLUMNS)
    counts = ["only_better_right", "only_other_right", "images_needed"]
    write_table(out, table.astype(dict.fromkeys(["n", *counts], "Int64")))


def of_this_run(claim, predictions):
    """The rest of a row of COLUMNS."""
    better, other = claim["better"], claim["other"]
    paths = {net: predictions[net] for net in (*better, *other)}
    tables = read_same_images(paths, claim.get("phase"))
    of_net = {net: correct(table) for net, table in tables.items()}
    ours, theirs = (sum(of_net[net] for net in nets) for nets in (better, other))
    whole = ours * len(other) - theirs * len(better)  # whole numbers, for the exact test
    groups = image_groups(tables[better[0]])
    p = exchange_test(whole, groups)
    return judge(claim, whole / (len(better) * len(other)), p, groups)


def judge(claim, differences, p, groups):
    """n, difference, interval, counts, p, images needed and finding of differences, (n,)."""
    difference = differences.mean()
    low, high = paired_interval(differences, groups)
    within = claim.get("within")
    needed = images_needed(differences, groups, within)
    of_two = len(claim["better"]) == len(claim["other"]) == 1
    only = [(sign * differences > 0).sum() if of_two else pd.NA for sign in (1, -1)]
    if within and -within < low and high < within:
        finding = f"shown: they differ by less than {within:.0%}"
    elif within:
        finding = f"not shown: they may differ by up to {max(abs(low), abs(high)):.1%}"
    elif p < LEVEL:
        finding = "shown" if difference > 0 else "contradicted: the other is better"
    else:
        finding = f"not shown: {'the order may be chance' if difference else 'no difference'}"
    needed = pd.NA if np.isnan(needed) else int(needed)
    return len(differences), difference, low, high, *only, p, needed, finding


def of_the_paper(claim, accuracies, n):
    """The rest of a row of COLUMNS, by the accuracies that the paper prints, {net: accuracy}."""
    nets = (*claim["better"], *claim["other"])
    known = {net: round(accuracies[net] * n) for net in nets if net in accuracies}
    nothing = (n, *[np.nan] * 3, pd.NA, pd.NA, np.nan, pd.NA)
    if "phase" in claim:
        return *nothing, "can't be judged: the paper draws these accuracies and prints none"
    if len(nets) == 2 and len(known) == 2:
        return worst(claim, *(known[net] for net in nets), n)
    missing = ", ".join(net for net in nets if net not in known)
    finding = f"can't be judged: the paper prints no accuracy of {missing}"
    if len(nets) == 2 and nets[0] in known:
        finding += "; " + condition(known[nets[0]], missing, n)
    return *nothing, finding


def outcomes(better, other, n):
    """Differences of two nets with so many of n right, for every possible overlap of errors."""
    for only_other in range(max(0, other - better), min(n - better, other) + 1):
        only_better = better - other + only_other
        rest = n - only_better - only_other
        yield np.repeat([1, -1, 0], [only_better, only_other, rest])


def worst(claim, better, other, n):
    """Judgement by the overlap that gives the largest p and, of these, the widest interval."""
    groups = np.arange(n)
    found = [(exchange_test(d, groups), (d != 0).sum(), d) for d in outcomes(better, other, n)]
    p, _, differences = max(found, key=lambda one: one[:2])
    row = judge(claim, differences, p, groups)
    return *row[:4], pd.NA, pd.NA, *row[6:]


def condition(better, net, n):
    """What the other net's number of right ones has to be for the order to be no chance."""
    groups = np.arange(n)

    def decided(other):
        return [exchange_test(d, groups) < LEVEL for d in outcomes(better, other, n)]

    possible, certain = (
        next((other for other in range(better, -1, -1) if test(decided(other))), None)
        for test in (any, all)
    )
    return (
        f"the order would be more than chance if {net} had at most {certain} of {n} right, "
        f"and could be, by the overlap of errors, at up to {possible}"
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--predictions", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
    )
    arguments.add_argument("--claims", type=json.loads, required=True, help="JSON of paper.claims")
    arguments.add_argument(
        "--accuracies", type=json.loads, required=True, help="JSON of the paper's, by net"
    )
    arguments.add_argument("--n-paper", type=int, required=True, help="the paper's test images")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        judge_claims(**chosen | {"predictions": dict(chosen["predictions"])})
