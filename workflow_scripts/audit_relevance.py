"""Audit: how much of the relevance that speaks for a decision lies inside the lungs?

Lungs are approximated by a central ellipse, not segmented. Relevance that is spread at random has
the ellipse's share of the image's area inside.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.image_sets import read_relevance
from cxr.evaluation.audits import add_outputs, lungs, plot_intervals, save_audit
from cxr.evaluation.metrics import BOOTSTRAP_SAMPLES, interval

COLUMNS = ["decision", "share_inside", "share_low", "share_high", "n"]


def audit_relevance(relevance, table, seed, out):
    maps, images = read_relevance(relevance)["relevance"], read_image_table(table, ["class"])
    if len(maps) != len(images):
        raise InputError(f"{relevance}: {len(maps)} maps, but {len(images)} rows in {table}")
    inside = lungs(maps.shape[1])
    positive = np.maximum(maps, 0)
    total = positive.sum(axis=(1, 2))
    images["share"] = np.divide(
        positive[:, inside].sum(axis=1), total, out=np.full(len(maps), np.nan), where=total > 0
    )
    rng = np.random.default_rng(seed)
    rows = []
    for name, shares in images.dropna(subset="share").groupby("class", sort=False).share:
        drawn = rng.choice(shares, (BOOTSTRAP_SAMPLES, len(shares))).mean(axis=1)
        rows.append((name, shares.mean(), *interval(drawn), len(shares)))
    found = pd.DataFrame(rows, columns=COLUMNS)
    area = inside.mean()
    save_audit(out, found, describe(found, len(images), area), "report")
    plot_intervals(
        out.figure, found.decision, found.share_inside, found.share_low,
        found.share_high, "share of positive relevance inside the lungs", (area, "share of area"),
    )  # fmt: skip


def describe(found, n, area):
    """Result. n: images, also those without relevance for the decision."""
    n_known = int(found.n.sum())
    if not n_known:
        return (
            f"none of {n} test images has relevance that speaks for its decision, so that where it "
            "lies can't be said"
        )
    by_class = ", ".join(
        f"{row.share_inside:.0%} for {row.decision} (n = {row.n})" for row in found.itertuples()
    )
    result = (
        f"of the relevance for a decision, on average {by_class} lies in the lungs (a central "
        f"ellipse, {area:.0%} of the area)"
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
    add_outputs(arguments)
    with user_errors():
        audit_relevance(**vars(arguments.parse_args()))
