"""Compare the methods of heatmaps in one table, and say which to read.

A cell holds what was measured and, where a limit is given below, whether that is enough:

conserves: median of |sum - logit| / |logit| over test images, at most 10 %;
learnt: median of the absolute rank correlation with maps of a net whose layers were all
  re-initialised at random, at most 0.5: a map that hardly changes shows what any net would show;
localises: rank accuracy over all findings, or classes, whose interval lies above the centred
  Gaussian's mean;
faithful: symmetric relevance gain whose interval lies above the mean of each baseline, by both
  fills; not known where there is no interval, of fewer than 20 images;
word: share of the relevance on a word drawn into test images, as a multiple of its share of the
  area; the net did not learn from the word, so that there is no right answer;
shortcut: smallest share of training images with a word that told the class from which on the
  word is seen (--shortcut, of measure_shortcut, where it was measured);
seconds: an image, on this machine.

Writes --out, a CSV of the cells and answers, and --out-page, for the report.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.files import write_table
from cxr.lrp.methods import BASELINES, METHODS
from cxr.pages import add_page, write_page
from cxr.tables import read_table

MAX_CONSERVATION_ERROR = 0.1  # assumed
MAX_CORRELATION = 0.5  # assumed: a quarter of the variance of the ranks
FILLS = ("mean", "blurred")
ALL = "all"  # rows of localisation.csv over all findings, or classes


def compare_methods(
    methods, net, explained, randomised, faithfulness, word, seconds, localisation, shortcut,
    out, out_page, page, style,
):  # fmt: skip
    table = pd.DataFrame(index=pd.Index([*methods, *BASELINES], name="method"))
    table["title"] = [METHODS[name].title for name in table.index]
    errors = read_table(explained, ["method", "conservation_error"]).groupby("method")
    table["conservation_error"] = errors.conservation_error.median()
    table["conserves"] = answer(table.conservation_error, MAX_CONSERVATION_ERROR)
    drawn = read_table(randomised, ["method", "drawn_anew", "rank_correlation"])
    of_all = drawn[drawn.drawn_anew == "all"].groupby("method").rank_correlation
    table["correlation_with_random"] = of_all.agg(lambda found: found.abs().median())
    table["depends_on_learnt"] = answer(table.correlation_with_random, MAX_CORRELATION)
    measured = {}
    for name, path in localisation.items():
        found, kind = localises(path)
        measured[name] = f"{'boxes' if kind == 'finding' else 'masks'} ({name})"
        table = table.join(found.add_suffix(f"_{name}"))
    table = table.join(faithful(faithfulness))
    table = table.join(on_word(word))
    if shortcut:
        table["shortcut_from"] = seen_from(shortcut).reindex(table.index)
    timed = read_table(seconds, ["method", "seconds", "images_per_second"]).set_index("method")
    table = table.join(timed[["seconds", "images_per_second"]]).reset_index()
    write_table(out, table)
    heads, rows = cells(table, measured, shortcut)
    write_page(
        out_page, page, style, net=net, heads=heads, rows=rows,
        paragraph=which_to_read(table, measured), methods=[METHODS[name] for name in table.method],
    )  # fmt: skip


def answer(values, most):
    """yes where a value is at most so large, no where it is larger, empty where it isn't known."""
    return pd.Series(np.where(values <= most, "yes", "no"), values.index).where(values.notna())


def localises(path):
    """(rank accuracy over all, by method, with interval and answer; finding or class)."""
    table = read_table(
        path, ["method", "rank_accuracy", "rank_accuracy_low", "rank_accuracy_high"], empty=True
    )
    over_all = table[table.iloc[:, 0] == ALL].set_index("method")
    found = over_all[["rank_accuracy", "rank_accuracy_low", "rank_accuracy_high"]].astype(float)
    least = found.rank_accuracy.get("gaussian", np.nan)
    known = found.rank_accuracy_low.notna() & ~found.index.isin(BASELINES)
    found["localises"] = pd.Series(
        np.where(found.rank_accuracy_low > least, "yes", "no"), found.index
    ).where(known)
    return found, table.columns[0]


def faithful(path):
    """Gain by method and fill, with its interval, and whether it beats the baselines by all."""
    table = read_table(path, ["method", "fill", "difference", "difference_low", "difference_high"])
    found, beats, given = [], True, True
    for fill, rows in table.groupby("fill", sort=False):
        rows = rows.set_index("method")[["difference", "difference_low", "difference_high"]]
        beats = beats & (rows.difference_low > rows.difference[list(BASELINES)].max())
        given = given & rows.difference_low.notna()
        found.append(
            rows.rename(
                columns={
                    "difference": f"gain_{fill}",
                    "difference_low": f"gain_{fill}_low",
                    "difference_high": f"gain_{fill}_high",
                }
            )
        )
    found = pd.concat(found, axis=1)
    known = given & ~found.index.isin(BASELINES)
    found["faithful"] = pd.Series(np.where(beats, "yes", "no"), found.index).where(known)
    return found


def on_word(path):
    """By method, the mean over classes of the share of relevance on the word by that of area."""
    table = read_table(path, ["method", "class", "share_on_word", "share_of_area"])
    times = table.share_on_word / table.share_of_area
    return times.groupby(table.method).mean().rename("times_area_on_word").to_frame()


def seen_from(path):
    """By method, the smallest share of images with the word, in %, from which on maps show it."""
    table = read_table(path, ["dose", "kind", "method", "seen"])
    found = {}
    for method, rows in table[table.kind == "relevance"].groupby("method"):
        unseen = rows.dose[~rows.seen.astype(bool)]
        above = rows.dose[rows.dose > unseen.max()] if len(unseen) else rows.dose
        found[method] = above.min() if len(above) else np.inf
    return pd.Series(found, dtype=float)


def cells(table, measured, shortcut):
    """(heads, rows of the page): a cell is its text and an answer, yes, no or nothing."""
    heads = ["Method", "Conserves: error", "Depends on what was learnt: correlation"]
    heads += [f"Localises: rank accuracy, {what}" for what in measured.values()]
    heads += ["Faithful: gain by mean fill; blurred", "Word drawn in: times its area"]
    heads += ["Planted shortcut: seen from"] if shortcut else []
    rows = []
    for row in table.to_dict("records"):
        found = [(row["title"], None)]
        error = row["conservation_error"]
        found.append((shown(error, "{:.1%}" if error < 10 else "{:.0f} times"), row["conserves"]))
        found.append((shown(row["correlation_with_random"], "{:.2f}"), row["depends_on_learnt"]))
        for name in measured:
            text = with_interval(row, f"rank_accuracy{{}}_{name}")
            found.append((text, row[f"localises_{name}"]))
        gains = "; ".join(with_interval(row, f"gain_{fill}{{}}") for fill in FILLS)
        found.append((gains, row["faithful"]))
        found.append((shown(row["times_area_on_word"], "{:.1f}"), None))
        if shortcut:
            dose = row["shortcut_from"]
            found.append(("never" if dose == np.inf else shown(dose, "{:.0f} %"), None))
        found = [(text, kind if pd.notna(kind) else None) for text, kind in found]
        rows.append({"cells": found, "seconds": shown(row["seconds"], "{:.1g}")})
    return heads, rows


def shown(value, form):
    return form.format(value) if pd.notna(value) else "-"


def with_interval(row, name):
    value, low, high = (row[name.format(end)] for end in ("", "_low", "_high"))
    return shown(value, "{:.2f}") + (f" [{low:.2f}, {high:.2f}]" if pd.notna(low) else "")


def which_to_read(table, measured):
    """What follows from the table, in plain words."""
    table = table[~table.method.isin(BASELINES)].set_index("title")
    fixed = table.index[table.depends_on_learnt == "no"]
    left = table[table.depends_on_learnt == "yes"]
    unfaithful, fit = left.index[left.faithful == "no"], left[left.faithful == "yes"]
    unknown = left.index[left.faithful.isna()]
    said = []
    if len(fixed):
        said.append(
            f"A net with random weights gives nearly the same maps by {words(fixed)}: they say "
            "little about what was learnt."
        )
    if len(unfaithful):
        said.append(
            f"Maps by {words(unfaithful)} depend on what was learnt, but removing what they mark "
            "changes the answer no more than maps do that know nothing of the net."
        )
    if len(unknown):
        said.append(
            f"Maps by {words(unknown)} depend on what was learnt; whether they are faithful "
            "can't be told from so few images."
        )
    if fit.empty:
        return " ".join([*said, "No method passes both tests: read no map as evidence."])
    best = fit[[f"gain_{fill}" for fill in FILLS]].mean(axis=1).idxmax()
    others = fit.index.drop(best)
    reason = f"; so do {words(others)}, with smaller gains" if len(others) else ", alone"
    said.append(f"Read {best}: its maps depend on what was learnt and are faithful{reason}.")
    return " ".join([*said, *caveats(fit.loc[best], measured)])


def caveats(row, measured):
    """What else the table says of the method to read."""
    known = {name: found for name, found in row.items() if pd.notna(found)}
    places = {
        what: known[f"localises_{name}"]
        for name, what in measured.items()
        if f"localises_{name}" in known
    }
    for what, found in places.items():
        better = "better" if found == "yes" else "no better"
        yield f"By {what}, they find the place {better} than a spot in the middle does."
    if not places:
        yield "Whether they point at disease was not measured."
    if known.get("conserves") != "yes":
        yield "Their values do not add up to the logit: read where they are, not how large."


def words(names):
    """a, b and c."""
    names = list(names)
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    arguments.add_argument("--net", required=True, help="its name")
    arguments.add_argument("--explained", type=Path, required=True, help="test_set.csv")
    arguments.add_argument("--randomised", type=Path, required=True, help="randomised.csv")
    arguments.add_argument("--faithfulness", type=Path, required=True, help="faithfulness.csv")
    arguments.add_argument("--word", type=Path, required=True, help="word_relevance.csv")
    arguments.add_argument("--seconds", type=Path, required=True, help="CSV of explain_test_set")
    arguments.add_argument(
        "--localisation", type=pair(Path), nargs="*", default=[], metavar="NAME=CSV"
    )
    arguments.add_argument("--shortcut", type=Path, help="curves.csv of the planted shortcut")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--out-page", type=Path, required=True, help="HTML to write")
    add_page(arguments, "methods.html")
    chosen = vars(arguments.parse_args())
    with user_errors():
        compare_methods(**chosen | {"localisation": dict(chosen["localisation"])})
