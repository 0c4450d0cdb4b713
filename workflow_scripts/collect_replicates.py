"""Analyse replicates: how much scores vary with split and seed.

--folder holds splitS_seedR/NET/predictions.csv. Writes there

- replicates.csv: net, split, seed, n, covid19_n, accuracy, macro_auc, covid19_recall, all of the
  edited test images after the last phase,
- summary.csv: net, score, replicates, mean, sd, least, greatest, and expected_sd: the standard
  deviation of an accuracy or recall if only the choice of test images varied,
- variance.csv: score, source (net, split, net x split, seed), variance, share and its 95 %
  interval, but of net: the nets are no sample of nets.

Variances are those of the random-effects model score = net + split + net x split + seed, estimated
from mean squares (Searle et al. 1992, Variance Components, chapter 4); negative ones count as 0.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, user_errors
from cxr.evaluation.intervals import BOOTSTRAP_SAMPLES
from cxr.evaluation.predictions import final_predictions, read_predictions
from cxr.figures import save_figure
from cxr.files import write_table
from matplotlib import pyplot as plt
from sklearn.metrics import roc_auc_score

SCORES = {"accuracy": "accuracy", "macro_auc": "macro AUROC", "covid19_recall": "COVID-19 recall"}


def collect_replicates(folder, nets, replicates, figure, draw_seed=0):
    numbers = range(1, replicates + 1)
    rows = []
    for net in nets:
        for split in numbers:
            for seed in numbers:
                path = folder / f"split{split}_seed{seed}" / net / "predictions.csv"
                table = final_predictions(read_predictions(path))
                covid19 = int((table["class"] == "covid19").sum())
                rows.append((net, split, seed, len(table), covid19, *scores(table)))
    table = pd.DataFrame(rows, columns=["net", "split", "seed", "n", "covid19_n", *SCORES])
    cubes = {
        score: table[score].to_numpy().reshape(len(nets), replicates, replicates)
        for score in SCORES
    }
    variance = pd.concat(
        [variance_components(cube, draw_seed).assign(score=score) for score, cube in cubes.items()]
    )[["score", "source", "variance", "share", "share_low", "share_high"]]
    write_table(folder / "replicates.csv", table)
    write_table(folder / "summary.csv", summarise(table))
    plot(table, variance, figure)
    write_table(folder / "variance.csv", variance)


def scores(table):
    """Accuracy, macro AUROC and recall of COVID-19 of one table of predictions."""
    right, covid19 = table["class"] == table.predicted, table["class"] == "covid19"
    labels = pd.get_dummies(table["class"])
    return (
        right.mean(),
        roc_auc_score(labels, table[list(labels)].to_numpy(), average="macro"),
        right[covid19].mean(),
    )


def summarise(table):
    rows = []
    for net, of_net in table.groupby("net", sort=False):
        for score in SCORES:
            values, mean = of_net[score], of_net[score].mean()
            tested = {"accuracy": "n", "covid19_recall": "covid19_n"}.get(score)
            chance = np.sqrt(mean * (1 - mean) / of_net[tested].mean()) if tested else np.nan
            rows.append(
                (net, score, len(values), mean, values.std(), values.min(), values.max(), chance)
            )
    columns = ["net", "score", "replicates", "mean", "sd", "least", "greatest", "expected_sd"]
    return pd.DataFrame(rows, columns=columns)


def variance_components(values, seed=0):
    """Variance due to net, split, both together and seed: source, variance, share, its interval.

    values: (nets, splits, seeds), a score of each replicate; two splits and two seeds at least.
    Seeds are taken as nested: seed 1 of one net and split says nothing of seed 1 of another.
    """
    nets, splits, seeds = values.shape
    cells, of_net, of_split = (
        values.mean(axis=2),
        values.mean(axis=(1, 2)),
        values.mean(axis=(0, 2)),
    )
    both = cells - of_net[:, None] - of_split + values.mean()
    freedom = np.array([nets - 1, splits - 1, (nets - 1) * (splits - 1), cells.size * (seeds - 1)])
    squares = [
        splits * seeds * ((of_net - values.mean()) ** 2).sum(),
        nets * seeds * ((of_split - values.mean()) ** 2).sum(),
        seeds * (both**2).sum(),
        ((values - cells[..., None]) ** 2).sum(),
    ]
    mean_squares = np.divide(squares, freedom, out=np.zeros(4), where=freedom > 0)
    variances = components(mean_squares, values.shape)
    drawn = components(draw_mean_squares(mean_squares, freedom, seed), values.shape)
    total, totals = variances.sum(), drawn.sum(axis=0)
    ends = [2.5, 97.5]
    low, high = np.nanpercentile(drawn / totals, ends, axis=1) if total else np.full((2, 4), np.nan)
    low[0] = high[0] = np.nan  # the nets are these, not a sample of nets
    return pd.DataFrame(
        {
            "source": ["net", "split", "net x split", "seed"],
            "variance": variances,
            "share": variances / total if total else np.nan,
            "share_low": low,
            "share_high": high,
        }
    )


def components(mean_squares, shape):
    """Variances, (4, ...), of mean squares of net, split, both and seed, (4, ...)."""
    nets, splits, seeds = shape
    by_net, by_split, by_both, by_seed = mean_squares
    rest = by_both if nets > 1 else by_seed  # what net and split are measured against
    variances = [
        (by_net - rest) / (splits * seeds),
        (by_split - rest) / (nets * seeds),
        (by_both - by_seed) / seeds,
        by_seed,
    ]
    return np.maximum(variances, 0)


def draw_mean_squares(mean_squares, freedom, seed):
    """Expected mean squares that may have given those found, (4, samples).

    Mean squares of split, of both and of seed are chi-squared (generalised confidence intervals:
    Weerahandi 1993, doi 10.1080/01621459.1993.10476355). That of the nets, which are fixed, has
    their own part, what is left over that of net x split, and its sampling error.
    """
    rng, size = np.random.default_rng(seed), (4, BOOTSTRAP_SAMPLES)
    chances = rng.chisquare(np.maximum(freedom, 1)[:, None], size) / np.maximum(freedom, 1)[:, None]
    found = mean_squares[:, None] / chances
    own = max(mean_squares[0] - mean_squares[2], 0)
    error = 2 * np.sqrt(own * found[2] / max(freedom[0], 1)) * rng.standard_normal(size[1])
    found[0] = own + error + found[2] * chances[0]
    return found


def plot(table, variance, path):
    """Above: every replicate's scores by net; below: the shares of variance."""
    drawing, axes = plt.subplots(
        2, len(SCORES), figsize=(9, 5), height_ratios=[3, 1], layout="constrained"
    )
    nets = list(table.net.unique())
    for (above, below), (score, name) in zip(axes.T, SCORES.items(), strict=True):
        for split, rows in table.groupby("split"):
            aside = (split - (table.split.max() + 1) / 2) * 0.6 / table.split.max()
            places = rows.net.map(nets.index) + aside
            above.plot(places, rows[score], "o", ms=3, alpha=0.7, label=f"split {split}")
        means = table.groupby("net", sort=False)[score].mean()
        above.hlines(
            means, np.arange(len(nets)) - 0.4, np.arange(len(nets)) + 0.4, color="0.2", lw=1
        )
        above.set_xticks(range(len(nets)), nets)
        above.set_title(name, fontsize="medium")
        shares, left = variance[variance.score == score], 0.0
        for row in shares.fillna(0).itertuples():
            below.barh(0, row.share, left=left, label=row.source)
            left += row.share
        below.set(xlim=(0, 1), yticks=[], xlabel="share of variance")
    for row in axes:
        row[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the replicates")
    arguments.add_argument("--nets", nargs="+", required=True)
    arguments.add_argument(
        "--replicates", type=int, required=True, help="number of splits, and of seeds"
    )
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    arguments.add_argument(
        "--draw-seed", type=int, default=0, help="seed of the intervals; default: 0"
    )
    with user_errors():
        collect_replicates(**vars(arguments.parse_args()))
