"""What the paper leaves open: scores of a net trained with other settings, and what they vary with.

Takes predictions and logits of the study's own net, then of those with other settings, from folders
named by them (`fill=128+seed=1`). All are of the same test images, so that no difference is due to
these. Writes

SUMMARY: changed (the number of settings), choice, value, n, accuracy, its difference from the
  study's own, and the loss (mean binary cross entropy of the edited test images) with its
  difference, each with its 95 % interval. Losses of fewer than 20 images or groups have none.
VARIANCE: score, source, variance, share. A choice has the variance that it gives to scores if each
  of its values is as likely as any other: by least squares, score = choices + rest, over all nets;
  what the rest adds to it by chance is subtracted, and negative ones count as 0. The rest is seed
  and interactions. With replicates of the net, accuracy has the variances of seed and split of
  these (collect_replicates), and interactions are what is left of the rest; without them the
  split's is empty. Shares are of the sum of all that are known. They have no interval: nets are
  few.
FIGURE: accuracies, losses and shares.
"""

from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from calibrate import read_logits
from collect_replicates import variance_components
from cxr.cli import InputError, parser, user_errors
from cxr.evaluation.intervals import mean_interval, paired_interval, share_interval
from cxr.evaluation.predictions import correct, image_groups, read_same_images
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.tables import read_table
from matplotlib import pyplot as plt

SCORES = ("accuracy", "loss")


def collect_assumptions(predictions, logits, replicates, seed, summary, variance, figure):
    names = [path.parent.name for path in predictions]
    if [path.parent.name for path in logits] != names:
        raise InputError(f"{logits[0]}: expected logits of the same nets as predictions: {names}")
    tables = read_same_images(dict(zip(names, predictions, strict=True)))
    groups = image_groups(tables[names[0]])
    right = {name: correct(table) for name, table in tables.items()}
    losses = {name: test_losses(path) for name, path in zip(names, logits, strict=True)}
    rows = [summarise(name, names[0], right, losses, groups, seed) for name in names]
    of_seed_and_split = read_replicates(replicates, names[0]) if replicates else {}
    table = pd.DataFrame(rows)
    shares = pd.concat(
        variance_shares(names, table[score].to_numpy(), of_seed_and_split.get(score)).assign(
            score=score
        )
        for score in SCORES
    )[["score", "source", "variance", "share"]]
    write_table(variance, shares)
    plot(names, table, shares, figure)
    write_table(summary, table)


def test_losses(path):
    """Binary cross entropy of each test image, mean over outputs, (n,)."""
    _, (logits, labels, _) = read_logits(path)
    return (np.logaddexp(0, logits) - labels * logits).mean(axis=1)


def settings_in(name):
    """{choice: value} of what differs from the study's own settings."""
    return dict(part.split("=", 1) for part in name.split("+") if "=" in part)


def summarise(name, own, right, losses, groups, seed):
    """A row of SUMMARY."""
    settings = settings_in(name)
    row = {
        "changed": len(settings),
        "choice": " + ".join(settings) or "the study's own",
        "value": " + ".join(settings.values()),
        "n": len(groups),
    }
    hits = right[name]
    gains, rises = hits - right[own], losses[name] - losses[own]
    itself, none = name == own, (np.nan, np.nan)
    for score, value, bounds in (
        ("accuracy", hits.mean(), share_interval(hits, groups)),
        ("accuracy_difference", gains.mean(), none if itself else paired_interval(gains, groups)),
        ("loss", losses[name].mean(), mean_interval(losses[name], groups, seed)),
        ("loss_difference", rises.mean(), none if itself else mean_interval(rises, groups, seed)),
    ):
        row |= {score: value, f"{score}_low": bounds[0], f"{score}_high": bounds[1]}
    return row


def read_replicates(path, net):
    """{score: {source: variance}} of a net's replicates, for seed and split."""
    table = read_table(path, filled=["net"], numbers=["split", "seed", "accuracy"])
    cube = table[table.net == net].pivot(index="split", columns="seed", values="accuracy")
    if min(cube.shape) < 2 or cube.isna().any(axis=None):
        raise InputError(
            f"{path}: found {cube.size - cube.isna().sum().sum()} replicates of {net}, expected "
            "two splits and two seeds at least, and each seed of each split"
        )
    found = variance_components(cube.to_numpy()[None]).set_index("source").variance
    return {"accuracy": found[["seed", "split"]].to_dict()}


def variance_shares(names, values, replicated=None):
    """source, variance and share of a score, (n,), of nets with these names, the own first."""
    variances, rest = choice_variances(names, values)
    if replicated:
        variances |= replicated | {"interactions": max(rest - replicated["seed"], 0)}
    else:
        variances |= {"seed and interactions": rest, "split (not known: no replicates)": np.nan}
    total = np.nansum(list(variances.values()))
    table = pd.DataFrame(list(variances.items()), columns=["source", "variance"])
    return table.assign(share=table.variance / total if total else np.nan)


def choice_variances(names, values):
    """({choice: variance}, that of the rest). Other seeds only are part of the rest."""
    settings = [settings_in(name) for name in names]
    pairs = [(choice, value) for of in settings for choice, value in of.items() if choice != "seed"]
    pairs = list(dict.fromkeys(pairs))
    design = np.array([[1, *(of.get(c) == v for c, v in pairs)] for of in settings], float)
    freedom = len(values) - design.shape[1]
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise InputError(
            f"found {len(values)} nets for {design.shape[1]} values of choices, expected each "
            "value by itself, and combinations or other seeds"
        )
    spread = np.linalg.inv(design.T @ design)
    effects = spread @ design.T @ values
    rest = ((values - design @ effects) ** 2).sum() / freedom
    variances = {}
    for choice in dict.fromkeys(choice for choice, _ in pairs):
        places = [number for number, (name, _) in enumerate(pairs, 1) if name == choice]
        levels = np.array([0, *effects[places]])
        own = spread[np.ix_(places, places)]
        by_chance = rest * (np.trace(own) - own.sum() / len(levels)) / len(levels)
        variances[choice] = levels.var() - by_chance
    least = 1e-12 * values.var()  # rounding
    found = {name: variance if variance > least else 0.0 for name, variance in variances.items()}
    return found, rest if rest > least else 0.0


def plot(names, table, shares, path):
    """Scores with their intervals, a row per net, and below the shares of variance."""
    labels = [
        fill(name.replace("+", " + ") if "=" in name else "the study's own", 64) for name in names
    ]
    sources, places = list(shares.source.unique()), -np.arange(len(table))
    drawn, axes = plt.subplots(
        2, 2, figsize=(9, 1.5 + 0.3 * len(table) + 0.25 * len(sources)),
        height_ratios=[len(table), len(sources)], sharey="row", layout="constrained",
    )  # fmt: skip
    for (above, below), score in zip(axes.T, SCORES, strict=True):
        colors = ["black" if n == 0 else "C0" if n == 1 else "C1" for n in table.changed]
        above.axvline(table[score][0], color="0.7", lw=0.8)
        above.hlines(places, table[f"{score}_low"], table[f"{score}_high"], colors, lw=1)
        above.scatter(table[score], places, s=16, c=colors, zorder=3)
        above.set_title({"accuracy": "accuracy", "loss": "loss on test images"}[score])
        of = shares[shares.score == score].set_index("source").share.reindex(sources)
        below.barh(-np.arange(len(sources)), of.fillna(0), height=0.7)
        below.set(xlim=(0, 1), xlabel="share of variance")
    axes[0, 0].set_yticks(places, labels, fontsize=7)
    axes[1, 0].set_yticks(-np.arange(len(sources)), sources, fontsize=7)
    save_figure(path, drawn)


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name, what in (("predictions", "predictions"), ("logits", "logits of the last phase")):
        arguments.add_argument(
            f"--{name}", type=Path, nargs="+", required=True,
            help=f"{what} of the study's own net, then of the others",
        )  # fmt: skip
    arguments.add_argument("--replicates", type=Path, help="replicates.csv of collect_replicates")
    arguments.add_argument("--seed", type=int, required=True, help="seed of the intervals")
    for name in ("summary", "variance"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    with user_errors():
        collect_assumptions(**vars(arguments.parse_args()))
