"""Planted shortcut: from which dose on do heatmaps and audits see the word that tells the class?

For each dose a net was trained on phantoms of draw_shortcut. Writes

CURVES: dose, kind, method, n, seen, and by kind
  relevance: a row per method of heatmaps. share_on_word: the share of the positive relevance for
    COVID-19 that lies in the word's box, mean over the COVID-19 test images, all with the word (n:
    those with positive relevance), with its 95 % interval (share_low, share_high);
    share_of_area: the box's share of the image, the value for randomly spread relevance;
  accuracy: a row per version of the test images (method): clean, without words; like_train, where
    the word tells the class as in training; word_on_all. accuracy has its exact 95 % interval;
AUDITS: dose, audit, measure, value, low, high, seen, gate, and result, the audit's own words;
FINDING: result: accuracies, and which methods and audits see the word, from which dose on;
FIGURE: all three as curves, with full dots where the word is seen.

seen: whether the whole interval of relevance or of an audit lies above the one at dose 0, at which
the word tells nothing; of relevance, also above the share of the area.
"""

from pathlib import Path
from textwrap import fill

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.image_sets import add_image_set, open_by_class
from cxr.data.images import word_box
from cxr.evaluation.intervals import proportion_interval
from cxr.evaluation.predictions import final_predictions, read_predictions
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.lrp.methods import METHODS, heatmaps
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from cxr.tables import read_table
from draw_shortcut import TOLD, add_word
from matplotlib import pyplot as plt
from measure_word import shares_on, with_word

VERSIONS = {
    "clean": "test images without words",
    "like_train": "test images like those of training",
    "word_on_all": "test images, all with the word",
}
SHARES = ["share_on_word", "share_low", "share_high"]
ACCURACY = ["accuracy", "accuracy_low", "accuracy_high"]
AUDITS = {
    "text": "fall of the true class's sigmoid when words are covered",
    "nuisance": "best accuracy of a linear model without the lungs",
    "regions": "accuracy without the lungs, output layer trained anew",
}


def measure_shortcut(
    doses, nets, predictions, clean, audits, findings, methods, place, seed, curves, out_audits,
    finding, figure,
):  # fmt: skip
    """nets, predictions: one per dose. audits, findings: {(dose, audit): path}; 0 is a dose.

    place: word, position, height, as draw_word takes them.
    """
    device, rows = select_device(), []
    for dose, path, predicted in progress(list(zip(doses, nets, predictions, strict=True)), "nets"):
        net, description = load_net(path)
        data = open_by_class(clean, description["outputs"])
        worded = with_word(data, *place)
        decided = predict_logits(net, worded, device).argmax(axis=1)
        found = accuracies(predicted, decided == worded.labels.argmax(axis=1))
        found += shares(net, worded, methods, place, device, seed)
        rows += [{"dose": dose} | row for row in found]
    table = pd.DataFrame(rows)
    above_chance = table.share_low > table.share_of_area
    table["seen"] = seen(table, "method", "share_low", "share_high") & above_chance
    read = pd.DataFrame([read_audit(*key, audits[key], findings[key]) for key in audits])
    read.insert(6, "seen", seen(read, "audit", "low", "high"))
    write_table(out_audits, read)
    write_table(finding, pd.DataFrame({"result": [describe(table, read)]}))
    plot(table, read, figure)
    write_table(curves, table)


def accuracies(predictions, right):
    """A row per version of the test images. right: bool (n,), of those that all have the word."""
    table = read_predictions(predictions)
    versions = {"clean": "edited", "like_train": "unedited"}
    of = {name: final_predictions(table, version) for name, version in versions.items()}
    is_right = {name: rows["class"] == rows.predicted for name, rows in of.items()}
    rows = []
    for version, values in (is_right | {"word_on_all": right}).items():
        bounds = proportion_interval(int(values.sum()), len(values))
        numbers = dict(zip(ACCURACY, (values.mean(), *bounds), strict=True))
        rows.append({"kind": "accuracy", "method": version, "n": len(values)} | numbers)
    return rows


def shares(net, worded, methods, place, device, seed):
    """A row per method: the share of the relevance for TOLD on the word, of images of TOLD."""
    output = worded.outputs.index(TOLD)
    of_class = worded.chosen(np.flatnonzero(worded.labels[:, output]))
    pixels, outputs = of_class.pixels(np.arange(len(of_class))), np.full(len(of_class), output)
    maps = heatmaps(net, pixels, outputs, methods, device, seed)
    box, groups = word_box(worded.shape[0], *place), np.arange(len(of_class))
    found = (shares_on(box, maps[method], of_class, groups, seed) for method in methods)
    rows = [table[table["class"] == TOLD].drop(columns="class").iloc[0] for table in found]
    return [
        {"kind": "relevance", "method": method} | row.to_dict()
        for method, row in zip(methods, rows, strict=True)
    ]


def read_audit(dose, audit, table, finding):
    """A row of AUDITS: one number of an audit's table, and its result."""
    found = read_table(table)
    if audit == "text":
        row = found.iloc[0]
        values = -row.change, -row.change_high, -row.change_low
    elif audit == "nuisance":
        row = found.loc[found.balanced_accuracy.idxmax()]
        values = row.balanced_accuracy, row.accuracy_low, row.accuracy_high
    else:
        is_it = (found.region == "without lungs") & (found.output_layer == "trained anew")
        row = found[is_it].iloc[0]
        values = row.accuracy, row.accuracy_low, row.accuracy_high
    said = read_table(finding).iloc[0]
    numbers = dict(zip(("value", "low", "high"), values, strict=True))
    names = {"dose": dose, "audit": audit, "measure": AUDITS[audit]}
    return names | numbers | {"gate": said.gate, "result": said.result}


def seen(table, name, low, high):
    """Whether each row's interval lies above that of its name at dose 0."""
    at_zero = table[(table.dose == 0) & table[high].notna()].set_index(name)[high]
    return table[low] > table[name].map(at_zero)


def seen_from(rows):
    """The dose from which on all doses of a method or audit are seen, or None."""
    rows, start = rows.sort_values("dose", ascending=False), None
    for dose, is_seen in zip(rows.dose, rows.seen, strict=True):
        if not is_seen:
            break
        start = dose
    return start


def describe(table, audits):
    """The finding, in words."""
    accuracy = table[table.kind == "accuracy"].pivot(index="dose", columns="method")["accuracy"]
    of = {name: ", ".join(f"{value:.0%}" for value in accuracy[name]) for name in accuracy}
    result = (
        f"where the word tells the class in {', '.join(f'{dose:g}' for dose in accuracy.index)} % "
        f"of the images, nets are right on {of['clean']} of the test images without words, and on "
        f"{of['like_train']} of those like their training images. "
    )
    for kind, rows in (("method", table[table.kind == "relevance"]), ("audit", audits)):
        starts = {name: seen_from(group) for name, group in rows.groupby(kind, sort=False)}
        see = [f"{name} from {start:g} %" for name, start in starts.items() if start is not None]
        blind = [name for name, start in starts.items() if start is None]
        result += f"{kind.capitalize()}s that see the word: {', '.join(see) or 'none'}"
        result += f"; that do not: {', '.join(blind) or 'none'}. "
    return result.strip()


def plot(table, audits, path):
    """Accuracies, shares of relevance and audits by dose, as curves."""
    relevance = table[table.kind == "relevance"]
    panels = (
        ("accuracy", table[table.kind == "accuracy"].assign(seen=True), "method", ACCURACY,
         VERSIONS),
        ("share of relevance on the word", relevance, "method", SHARES,
         {name: METHODS[name].title for name in relevance.method}),
        ("audits", audits, "audit", ["value", "low", "high"],
         {name: fill(f"{name}: {measure}", 36) for name, measure in AUDITS.items()}),
    )  # fmt: skip
    drawing, axes = plt.subplots(
        3, 1, figsize=(8, 8.4), height_ratios=[2, 3, 2], layout="constrained"
    )
    doses = sorted(table.dose.unique())
    for axis, (title, rows, name, columns, words) in zip(axes, panels, strict=True):
        for number, (key, curve) in enumerate(rows.groupby(name, sort=False)):
            values, low, high = curve[columns].to_numpy(float).T
            places = np.array([doses.index(dose) for dose in curve.dose])
            places = places + 0.03 * (number - rows[name].nunique() / 2)
            style = {"color": f"C{number % 6}", "ls": "-" if number < 6 else ":"}
            axis.plot(places, values, lw=1, label=words[key], **style)
            axis.vlines(places, low, high, lw=0.8, color=style["color"])
            full = curve.seen.to_numpy(bool)
            axis.plot(places, values, "o", ms=5, color=style["color"], mfc="white")
            axis.plot(places[full], values[full], "o", ms=5, color=style["color"])
        axis.set_title(title, loc="left", fontsize="medium")
        axis.set_xticks(range(len(doses)), [f"{dose:g} %" for dose in doses])
    axes[1].axhline(
        relevance.share_of_area.iloc[0], color="grey", lw=0.8, ls="--", label="share of area"
    )
    for axis in axes:
        axis.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    axes[2].set_xlabel("images in which the word tells the class; full dots: the word is seen")
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--doses", type=float, nargs="+", required=True, help="0 among them")
    for name, what in (
        ("nets", "trained nets"),
        ("predictions", "their predictions of test images"),
    ):
        arguments.add_argument(f"--{name}", type=Path, nargs="+", required=True, help=what)
    add_image_set(arguments, "--clean", "test images without words")
    for name, what in (("tables", "tables"), ("findings", "findings")):
        arguments.add_argument(
            f"--{name}", type=Path, nargs="+", required=True,
            help=f"{what} of the audits {', '.join(AUDITS)}, of each in the order of the doses",
        )  # fmt: skip
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    add_word(arguments)
    arguments.add_argument("--seed", type=int, required=True, help="seed of the bootstrap")
    for name in ("curves", "audits", "finding"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    given = arguments.parse_args()
    keys = [(dose, audit) for audit in AUDITS for dose in given.doses]
    numbers = [len(given.nets), len(given.predictions)], [len(given.tables), len(given.findings)]
    if numbers != ([len(given.doses)] * 2, [len(keys)] * 2) or 0 not in given.doses:
        arguments.error("expected 0 among the doses, and one file per dose and audit")
    with user_errors():
        measure_shortcut(
            given.doses, given.nets, given.predictions, given.clean,
            dict(zip(keys, given.tables, strict=True)),
            dict(zip(keys, given.findings, strict=True)),
            given.methods, (given.word, given.word_position, given.word_height), given.seed,
            given.curves, given.audits, given.finding, given.figure,
        )  # fmt: skip
