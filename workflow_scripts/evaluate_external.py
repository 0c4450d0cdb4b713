"""Scores of nets on external sets, beside those on the internal test images.

The set `internal` is the edited test images of the COVID-19 database. A set is evaluated on the
classes that it has images of, while a net may decide for any of the three. Decisions are the
largest sigmoid. With --min-confidence there is no decision where that sigmoid, calibrated (if a
temperature was fitted), is smaller: their share is no_decision, and accuracy_decided is of the
others; all other scores are of all images. Intervals are 95 %, by group of images.

Writes TABLE: net, set, left_out (images), copies (how many of these as copies of known images),
classes, n, groups, accuracy, internal_accuracy (of the internal test images of the same classes),
difference (of the two), macro_auc (mean over the classes of one against the rest), recall and
precision of each class, no_decision, accuracy_decided; scores with _low and _high. CONFUSION: net,
set, class, a column per decision. FIRST_PAGE: what of it the report's first page has. FIGURE.
FINDING, as audits write it.
"""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, user_errors
from cxr.data.covid19 import CLASSES, INTERNAL, read_image_table
from cxr.evaluation.intervals import share_interval
from cxr.evaluation.predictions import image_groups
from cxr.evaluation.scores import confusion, macro_auroc, metrics
from cxr.figures import save_figure
from cxr.files import write_table
from cxr.nets.published import fitted_temperature
from cxr.tables import read_table
from matplotlib import pyplot as plt
from scipy.special import expit

SCORES = ("accuracy", "internal_accuracy", "difference", "macro_auc")
LOGITS = {
    "numbers": CLASSES, "choices": {"class": CLASSES}, "filled": ["image"], "text": ["net", "set"],
}  # fmt: skip


def evaluate_external(
    internal, calibrations, logits, left_out, min_confidence, published,
    table, confusion_path, first_page, figure, finding,
):  # fmt: skip
    rows, counts = [], []
    external = read_table(logits, ["net", "set", "group"], **LOGITS) if logits else None
    known = {name: read_reasons(path) for name, path in left_out.items()}
    for net, path in internal.items():
        own = read_table(path, ["split"], **LOGITS)
        sets = {INTERNAL: own[own.split == "test"]}
        for name in left_out:
            sets[name] = external[(external.net == net) & (external.set == name)]
            if sets[name].empty:
                raise InputError(f"{logits}: no row of {net} and the set {name!r}")
        temperature = fitted_temperature(calibrations[net]) or 1.0
        sets = {name: decide(found, temperature) for name, found in sets.items()}
        for name, found in sets.items():
            row = {"net": net, "set": name} | known.get(name, {"left_out": 0, "copies": 0})
            rows.append(row | scores(found, sets[INTERNAL], min_confidence))
            counts.append(confusion(found).assign(net=net, set=name))
    result = pd.DataFrame(rows)
    write_table(table, result)
    write_table(confusion_path, pd.concat(counts)[["net", "set", "class", *CLASSES]])
    write_table(first_page, shown(result, published))
    text = {"audit": "external", "result": describe(result, known), "gate": "report"}
    write_table(finding, pd.DataFrame([text]))
    plot(figure, result, published)


def read_reasons(path):
    """How many images of a set were left out, and how many of them as copies of known ones."""
    reasons = read_image_table(path, ["reason"]).reason
    return {"left_out": len(reasons), "copies": int(reasons.str.startswith("copy of ").sum())}


def decide(logits, temperature):
    """Logits as predictions: sigmoids, predicted, and the decision's calibrated sigmoid."""
    values = logits[list(CLASSES)].to_numpy(float)
    found = logits.assign(**dict(zip(CLASSES, expit(values).T, strict=True)))
    found["predicted"] = np.array(CLASSES)[values.argmax(axis=1)]
    found["confidence"] = expit(values / temperature).max(axis=1)
    return found.reset_index(drop=True)


# Scores


def scores(found, internal, min_confidence):
    """Scores of a net's predictions of one set, beside its predictions of the internal images."""
    classes = [name for name in CLASSES if (found["class"] == name).any()]
    groups, right = image_groups(found), (found["class"] == found.predicted).to_numpy()
    row = {"classes": "; ".join(classes), "n": len(found), "groups": len(np.unique(groups))}
    accuracy = (right.mean(), *share_interval(right, groups))
    ours = apart = [np.nan] * 3
    if found is not internal:
        same = internal[internal["class"].isin(classes)]
        same_right = (same["class"] == same.predicted).to_numpy()
        ours = (same_right.mean(), *share_interval(same_right, image_groups(same)))
        apart = difference(accuracy, ours)
    values = (accuracy, ours, apart, macro_auroc(found, classes))
    for score, (value, low, high) in zip(SCORES, values, strict=True):
        row |= {score: value, f"{score}_low": low, f"{score}_high": high}
    by_class = metrics(found).set_index("class")
    for score in ("recall", "precision"):
        for name in CLASSES:
            for end in ("", "_low", "_high"):
                value = by_class.loc[name, f"{score}{end}"] if name in classes else np.nan
                row[f"{score}_{name}{end}"] = value
    return row | decided(found, right, groups, min_confidence)


def difference(one, other):
    """Difference of two independent shares, and its 95 % interval, of theirs: (value, low, high).

    Newcombe 1998, doi 10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I, method 10,
    for intervals of any kind.
    """
    (a, a_low, a_high), (b, b_low, b_high) = one, other
    return a - b, a - b - np.hypot(a - a_low, b_high - b), a - b + np.hypot(a_high - a, b - b_low)


def decided(found, right, groups, min_confidence):
    """Share of images without a decision, and the accuracy on the others; empty without a limit."""
    sure = (found.confidence >= (min_confidence or 0)).to_numpy()
    low, high = share_interval(right[sure], groups[sure])
    value = right[sure].mean() if sure.any() else np.nan
    row = {"no_decision": (~sure).mean(), "accuracy_decided": value}
    row |= {"accuracy_decided_low": low, "accuracy_decided_high": high}
    return row if min_confidence is not None else dict.fromkeys(row, np.nan)


# What people read


def shown(result, published):
    """The rows of the report's first page: few columns, for phones."""
    rows = []
    for row in result[result.set != INTERNAL].to_dict("records"):
        recalls = [two_digits(row[f"recall_{name}"]) for name in CLASSES]
        images = f"{row['set'].replace('_', ' ')}, {row['n']} images"
        internal = two_digits(row["internal_accuracy"])
        rows.append((row["net"], images, with_interval(row), internal, ", ".join(recalls)))
    for study in published:
        rows.append((study["study"], "theirs", with_interval(study), "", ""))
    columns = ["net", "external set", "accuracy", "internally"]
    return pd.DataFrame(rows, columns=[*columns, "recall: normal, viral pneumonia, COVID-19"])


def with_interval(row):
    """Accuracy with its interval, as text."""
    return "{accuracy:.3f} [{accuracy_low:.3f}, {accuracy_high:.3f}]".format_map(row)


def two_digits(value):
    return "no image" if np.isnan(value) else f"{value:.2f}"


def describe(result, known):
    """The finding in words."""
    if not known:
        return (
            "no external set is configured (external.sets): whether nets are as good on images "
            "from elsewhere is not known"
        )
    texts = []
    for name, counts in known.items():
        rows = result[result.set == name]
        n, classes = rows.n.iloc[0], rows.classes.iloc[0].replace("; ", ", ")
        texts.append(
            f"{name} ({n} images of {classes}; left out as copies of known images: "
            f"{counts['copies']}): accuracy {ends(rows.accuracy)}, on internal test images of "
            f"these classes {ends(rows.internal_accuracy)}; lower beyond chance for "
            f"{(rows.difference_high < 0).sum()} of {len(rows)} nets"
        )
    return "; ".join(texts)


def ends(values):
    return " to ".join(dict.fromkeys((f"{values.min():.3f}", f"{values.max():.3f}")))


def plot(path, result, published):
    """Accuracy and recalls of each net and set, and published external accuracies."""
    nets, sets = result.net.unique(), result.set.unique()
    panels = ["accuracy", *(f"recall_{name}" for name in CLASSES)]
    height = 1.2 + 0.13 * len(nets) * (len(sets) + 1)
    drawing, axes = plt.subplots(
        1, len(panels), figsize=(8, height), sharey=True, sharex=True, layout="constrained"
    )
    for panel, score in zip(axes, panels, strict=True):
        for number, name in enumerate(sets):
            rows = result[result.set == name]
            places = np.arange(len(rows)) + (number + 1) / (len(sets) + 1) - 0.5
            values = rows[[score, f"{score}_low", f"{score}_high"]].to_numpy(float).T
            panel.hlines(places, *values[1:], lw=1, color=f"C{number}")
            panel.plot(values[0], places, "o", ms=3.5, color=f"C{number}", label=name)
        panel.set_title(score.replace("_", " of ", 1).replace("_", " "), fontsize=9)
    for number, study in enumerate(published):
        style = {"color": "grey", "lw": 0.8, "ls": ("--", ":", "-.")[number % 3]}
        axes[0].axvline(study["accuracy"], label=f"{study['study']} (their external set)", **style)
    axes[0].set_yticks(np.arange(len(nets)), nets)
    axes[0].invert_yaxis()
    axes[0].set_xlim(-0.03, 1.03)
    axes[0].set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    handles, labels = axes[0].get_legend_handles_labels()
    drawing.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    pairs = {
        "internal": "NET=CSV", "calibrations": "NET=CSV", "left-out": "SET=CSV",
    }  # fmt: skip
    for name, form in pairs.items():
        arguments.add_argument(
            f"--{name}", type=pair(Path), metavar=form, default=[],
            nargs="*" if name == "left-out" else "+", required=name != "left-out",
        )  # fmt: skip
    arguments.add_argument("--logits", type=Path, help="CSV of predict_external, if there are sets")
    arguments.add_argument("--min-confidence", type=float, metavar="SIGMOID")
    arguments.add_argument("--published", type=json.loads, default=[], help="JSON of studies")
    for name in ("table", "confusion", "first-page", "finding"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--figure", type=Path, required=True, help="SVG to write")
    chosen = vars(arguments.parse_args())
    chosen["confusion_path"] = chosen.pop("confusion")
    with user_errors():
        names = ("internal", "calibrations", "left_out")
        evaluate_external(**chosen | {name: dict(chosen[name]) for name in names})
