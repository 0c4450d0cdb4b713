"""Audit: how much of the relevance that speaks for a decision lies inside the lungs?

By each method of heatmaps; the result in words is of one. Where the lungs are, --lungs says (a net,
or drawn masks); without it they are approximated by a central ellipse, not segmented. Relevance
that is spread at random has their share of the image's area inside: the column area.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.image_sets import read_relevance
from cxr.data.lungs import Lungs, add_lungs
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from cxr.evaluation.intervals import mean_interval
from cxr.evaluation.predictions import image_groups
from cxr.lrp.methods import SHOWN, title_of

COLUMNS = [
    "method", "decision", "share_inside", "share_low", "share_high", "area", "n", "lungs",
]  # fmt: skip


def audit_relevance(relevance, table, seed, out, lungs=None):
    lungs = Lungs(lungs)
    by_method, images = read_relevance(relevance), read_image_table(table, ["class", "method"])
    rows = []
    for method, maps in by_method.items():
        of_method = images[images.method == method]
        if len(maps) != len(of_method):
            raise InputError(
                f"{relevance}: {len(maps)} maps by {method}, but {len(of_method)} rows in {table}"
            )
        inside = lungs.of(of_method.image, maps.shape[1])
        areas = pd.Series(inside.mean(axis=(1, 2)), of_method.index)
        found_by = lungs.describe(of_method.image)
        shares = pd.Series(shares_inside(maps, inside), of_method.index).dropna()
        for name, of_class in shares.groupby(of_method["class"], sort=False):
            groups = image_groups(of_method.loc[of_class.index])
            bounds = mean_interval(of_class.to_numpy(), groups, seed, (0, 1))
            area, n = areas[of_class.index].mean(), len(of_class)
            rows.append((method, name, of_class.mean(), *bounds, area, n, found_by))
    found = pd.DataFrame(rows, columns=COLUMNS)
    shown = SHOWN if SHOWN in by_method else next(iter(by_method))
    of_shown, area = found[found.method == shown], areas.mean()
    lungs_are = f"{found_by}, {area:.0%} of the area"
    result = describe(of_shown, len(by_method[shown]), lungs_are, title_of(shown))
    save_audit(out, found, result, "report")
    plot_intervals(
        out.figure, found.method.map(title_of) + ", " + found.decision, found.share_inside,
        found.share_low, found.share_high, "share of positive relevance inside the lungs",
        (area, "share of area"),
    )  # fmt: skip


def shares_inside(maps, inside):
    """Share of each map's positive relevance inside, (n,); not a number where it has none.

    maps: (n, size, size); inside: bool alike.
    """
    positive = np.maximum(maps, 0)
    total = positive.sum(axis=(1, 2))
    return np.divide(
        np.where(inside, positive, 0).sum(axis=(1, 2)),
        total,
        out=np.full(len(maps), np.nan),
        where=total > 0,
    )


def describe(found, n, lungs, title):
    """Result, of one method. n: images, also those without relevance for the decision.

    lungs: where they are from, and how large, in words.
    """
    n_known = int(found.n.sum())
    if not n_known:
        return (
            f"none of {n} test images has relevance by {title} that speaks for its decision, so "
            "that where it lies can't be said"
        )
    by_class = ", ".join(
        f"{row.share_inside:.0%} for {row.decision} (n = {row.n})" for row in found.itertuples()
    )
    result = (
        f"of the relevance for a decision by {title}, on average {by_class} lies in the lungs "
        f"({lungs})"
    )
    if n > n_known:
        result += f"; {n - n_known} of {n} images have no relevance for their decision"
    if missing := [name for name in CLASSES if name not in set(found.decision)]:
        result += f"; of {' and '.join(missing)} nothing can be said"
    return result


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--relevance", type=Path, required=True, help="test_set.npz")
    arguments.add_argument("--table", type=Path, required=True, help="test_set.csv")
    arguments.add_argument("--seed", type=int, required=True, help="of the bootstrap")
    add_lungs(arguments)
    add_outputs(arguments)
    with user_errors():
        audit_relevance(**vars(arguments.parse_args()))
