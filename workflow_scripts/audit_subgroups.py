"""Audit: for whom do the nets that others start from work?

AUROC, and the share of positive images that are missed (false negatives), of each pretrained net on
ChestX-ray14's test images by sex, age, view and all their crossings (Seyyed-Kalantari et al. 2021,
doi 10.1038/s41591-021-01595-0; Larrazabal et al. 2020, doi 10.1073/pnas.1919012117). An image is
called positive from the logit on that gives the largest Youden index on the validation images. The
output No Finding is turned round, into `any finding`: what it misses are images with a finding that
are called healthy.

A gap is a group minus all others of whom the same is known, with an interval by patient; p values
are adjusted (Holm) for each net and measure, over the findings' means and over single findings. A
group with fewer than --min-images positive or negative images, or whose rest has fewer, is blank.
Sexes, views and ages that the table doesn't give as it should are unknown, and counted.
"""

from collections import Counter
from itertools import chain, combinations, product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.chestxray14 import NO_FINDING, read_findings, read_people
from cxr.data.overlaps import PRETRAINING, check_pretraining
from cxr.evaluation.audits import add_outputs, save_audit
from cxr.evaluation.gaps import area_of, gap_of, mean_of, share_of, youden_threshold
from cxr.evaluation.intervals import LEVEL
from cxr.figures import save_figure
from matplotlib import pyplot as plt
from statsmodels.stats.multitest import multipletests

COLUMNS = [
    "net", "attribute", "group", "finding", "measure", "n", "positive", "threshold", "value", "low",
    "high", "gap", "gap_low", "gap_high", "p", "verdict",
]  # fmt: skip
SEXES, VIEWS = ("F", "M"), ("PA", "AP")
AUROC, MISSED = "auroc", "false_negatives"
MEASURES = {AUROC: "AUROC", MISSED: "false negatives"}
MEAN, ANY_FINDING, UNCLEAR = "mean", "any finding", "can't be told"


class Finding(NamedTuple):
    """A finding on the test images: labels, logits, and the threshold (nan: not known)."""

    name: str
    positive: np.ndarray
    scores: np.ndarray
    threshold: float


class Group(NamedTuple):
    """Images of a group and of the rest, bool (n,). compared: whether their gap is looked at."""

    attribute: str
    name: str
    chosen: np.ndarray
    rest: np.ndarray
    compared: bool


def audit_subgroups(logits, split, labels, pretraining, age_bounds, min_images, out):
    check_pretraining(logits, pretraining)
    if list(age_bounds) != sorted(set(age_bounds)):
        raise InputError(f"--age-bounds: found {list(age_bounds)}, expected years that ascend")
    everyone, rows = read_people(labels), []
    for net, path in progress(logits.items(), "nets"):
        predicted, table = read_findings(path, split)
        test = (table.split == "test").to_numpy()
        findings = [as_finding(name, predicted, table, test, min_images) for name in predicted]
        if missing := table.image[test & ~table.image.isin(everyone.index)].tolist():
            raise InputError(f"{labels}: found no row of {missing[0]}, expected all of {split}")
        people = everyone.loc[table.image[test]]
        patients = pd.factorize(table.patient_id[test])[0]
        rows += [
            (net, *row)
            for group in groups_of(people, age_bounds)
            for measure in MEASURES
            for row in rows_of(group, measure, findings, patients, min_images)
        ]
    found = with_verdicts(pd.DataFrame(rows, columns=COLUMNS))
    elsewhere = [net for net in logits if pretraining[net] == "elsewhere"]
    save_audit(out, found, describe(found, odd_values(people), elsewhere, min_images), "report")
    plot(out.figure, found)


def as_finding(name, predicted, table, test, min_images):
    """A Finding of the test images, its threshold from the others: the validation images."""
    sign = -1 if name == NO_FINDING else 1
    positive = (table[name] == (0 if name == NO_FINDING else 1)).to_numpy()
    scores = sign * predicted[name].to_numpy()
    enough = min(positive[~test].sum(), (~positive[~test]).sum()) >= min_images
    threshold = youden_threshold(positive[~test], scores[~test]) if enough else np.nan
    name = ANY_FINDING if name == NO_FINDING else name
    return Finding(name, positive[test], scores[test], threshold)


def groups_of(people, age_bounds):
    """All images, then groups by one attribute, by two, and by all three."""
    lows = [*age_bounds[:-1]]
    ages = [f"{low} to {high - 1}" for low, high in zip(lows, age_bounds[1:], strict=True)]
    names = {
        "sex": SEXES,
        "age": (f"under {age_bounds[0]}", *ages, f"{age_bounds[-1]} or older"),
        "view": VIEWS,
    }
    limits = [0, *age_bounds, np.inf]
    values = people[["sex", "view"]].assign(
        age=pd.cut(people.age, limits, right=False, labels=names["age"]).astype(object)
    )
    known = pd.DataFrame({name: values[name].isin(names[name]) for name in names})
    everyone = np.ones(len(people), bool)
    found = [Group("all", "all", everyone, ~everyone, False)]
    for attributes in chain(*(combinations(names, size) for size in (1, 2, 3))):
        columns = [*attributes]
        of_all = known[columns].all(axis=1).to_numpy()
        cells = list(product(*(names[attribute] for attribute in attributes)))
        for number, cell in enumerate(cells):
            chosen = (values[columns] == cell).all(axis=1).to_numpy()
            turned_round = len(cells) == 2 and number == 1  # the gap of the first, that is
            title = " x ".join(attributes), ", ".join(cell)
            found.append(Group(*title, chosen, of_all & ~chosen, not turned_round))
    return found


def estimate(finding, measure, chosen, patients, min_images):
    """A measure of a finding on the chosen images, an Estimate; None where they are too few."""
    positive, negative = finding.positive & chosen, ~finding.positive & chosen
    if measure == AUROC and min(positive.sum(), negative.sum()) >= min_images:
        return area_of(finding.positive, finding.scores, patients, chosen)
    if measure == MISSED and positive.sum() >= min_images and not np.isnan(finding.threshold):
        return share_of(finding.scores < finding.threshold, patients, positive)
    return None


def rows_of(group, measure, findings, patients, min_images):
    """Rows of COLUMNS, from attribute on, of a group: one per finding, and their mean.

    The mean is over the findings that are known in the group and in the rest, but any finding.
    """
    ones, others = (
        [estimate(finding, measure, chosen, patients, min_images) for finding in findings]
        for chosen in (group.chosen, group.rest)
    )
    alone = not group.rest.any()
    both = [
        places
        for finding, *places in zip(findings, ones, others, strict=True)
        if finding.name != ANY_FINDING and places[0] and (places[1] or alone)
    ]
    one = mean_of([first for first, _ in both], patients, group.chosen) if both else None
    other = None
    if both and not alone:
        other = mean_of([second for _, second in both], patients, group.rest)
    start, n = (group.attribute, group.name), int(group.chosen.sum())
    rows = []
    for finding, *both in zip(findings, ones, others, strict=True):
        threshold = finding.threshold if measure == MISSED else np.nan
        counts = n, int((finding.positive & group.chosen).sum()), threshold
        scores = numbers(*both, patients, group.compared)
        rows.append((*start, finding.name, measure, *counts, *scores))
    scores = numbers(one, other, patients, group.compared)
    return [*rows, (*start, MEAN, measure, n, np.nan, np.nan, *scores)]


def numbers(one, other, patients, compared):
    """COLUMNS from value on; not a number where an Estimate is None."""
    nothing = [np.nan] * 4
    value = one[:3] if one else nothing[:3]
    difference = gap_of(one, other, patients) if compared and one and other else nothing
    return *value, *difference, UNCLEAR if compared else ""


def with_verdicts(found):
    """The table with p_holm, and with the verdict on each gap that the adjusted p allows."""
    family = [found.net, found.measure, found.finding == MEAN]
    known = found[found.p.notna()]
    for _, p in known.p.groupby(family):
        found.loc[p.index, "p_holm"] = multipletests(p, LEVEL, method="holm")[1]
    clear = found.get("p_holm", pd.Series(np.nan, found.index)) < LEVEL
    found.loc[clear, "verdict"] = np.where(found.gap[clear] > 0, "larger", "smaller")
    columns = [*COLUMNS[:-1], "p_holm", COLUMNS[-1]]
    return found.reindex(columns=columns).astype({"positive": "Int64"})


def odd_values(people):
    """In words, how many images have no sex, view or age that can be used, and what they have."""
    texts = {
        "sex": people.sex[~people.sex.isin(SEXES)],
        "view": people.view[~people.view.isin(VIEWS)],
        "age": people.age_text[people.age.isna()],
    }
    return [
        f"{name} of {len(found)} images ("
        + ", ".join(f"{text!r}: {n}" for text, n in Counter(sorted(found)).most_common(5))
        + ")"
        for name, found in texts.items()
        if len(found)
    ]


def describe(found, odd, elsewhere, min_images):
    """Result. elsewhere: nets of which it isn't known which images they were trained on."""
    looked_at = found[found.verdict != ""]
    known, told = looked_at[looked_at.p.notna()], looked_at[looked_at.verdict != UNCLEAR]
    n = found.n.max()
    result = (
        f"of {len(looked_at)} gaps between a group and the rest of {n} test images, in AUROC and "
        f"in false negatives, {len(looked_at) - len(known)} are not known (fewer than {min_images} "
        f"images with or without the finding, there or in validation), {len(known) - len(told)} "
        f"can't be told from 0, and {len(told)} can (Holm)"
    )
    for name, gaps in (
        ("means over findings", told[told.finding == MEAN]),
        ("single findings", told[told.finding != MEAN]),
    ):
        if len(gaps):
            row = gaps.loc[gaps.gap.abs().idxmax()]
            result += (
                f"; of {name} {len(gaps)}, the largest {row.net}, {MEASURES[row.measure]}"
                + ("" if row.finding == MEAN else f" of {row.finding}")
                + f", {row.group} minus rest {row.gap:+.2f} "
                f"[{row.gap_low:+.2f}, {row.gap_high:+.2f}]"
            )
    if odd:
        result += f"; not known: {'; '.join(odd)}"
    if elsewhere:
        result += (
            f"; whether {', '.join(elsewhere)}, trained elsewhere, saw these images is not known"
        )
    return result


def plot(path, found):
    """Gaps of the findings' mean by one and by two attributes: a panel per measure."""
    means = found[(found.finding == MEAN) & (found.verdict != "")]
    means = means[means.attribute.str.count(" x ") < 2]
    groups = list(dict.fromkeys(means.group))
    drawing, panels = plt.subplots(
        1, 2, figsize=(8, 1 + 0.2 * len(groups)), sharey=True, layout="constrained"
    )
    nets = list(dict.fromkeys(means.net))
    for axes, (measure, name) in zip(panels, MEASURES.items(), strict=True):
        for number, net in enumerate(nets):
            rows = means[(means.net == net) & (means.measure == measure)].set_index("group")
            rows = rows.loc[groups]
            places = np.arange(len(groups)) + 0.3 * (number - (len(nets) - 1) / 2)
            (dots,) = axes.plot(rows.gap, places, "o", ms=3, label=net)
            axes.hlines(places, rows.gap_low, rows.gap_high, lw=1, color=dots.get_color())
        axes.axvline(0, color="grey", lw=0.8, ls="--")
        axes.set_xlabel(f"{name}: group minus rest")
    panels[0].set_yticks(np.arange(len(groups)), groups, fontsize=7)
    panels[0].set_ylim(len(groups) - 0.5, -0.5)
    drawing.suptitle("Mean over findings", fontsize=9)
    panels[1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--logits", type=pair(Path), nargs="+", required=True, metavar="NET=CSV",
        help="of predict_findings",
    )  # fmt: skip
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--labels", type=Path, required=True, help="NIH's label table")
    arguments.add_argument(
        "--pretraining", type=pair(), nargs="+", required=True, metavar="NET=WHERE",
        help=f"where the net was trained on ChestX-ray14: {', '.join(PRETRAINING)}",
    )  # fmt: skip
    arguments.add_argument(
        "--age-bounds", type=int, nargs="+", required=True, help="years; a group starts at each"
    )
    arguments.add_argument("--min-images", type=int, required=True, help="of each kind in a group")
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_subgroups(
            **chosen
            | {"logits": dict(chosen["logits"]), "pretraining": dict(chosen["pretraining"])}
        )
