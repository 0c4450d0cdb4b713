"""Compare our nets with published ones: on COVID-19, and on ChestX-ray14's findings.

Writes OUT: study, accuracy, f1 (mean of the classes), recall and precision of COVID-19;
splits and in part the data differ, so differences between rows prove little. Writes
OUT_AUROCS: finding, positive and n of our test images, the AUROC of each of our nets with
ChestX-ray14's findings with its 95 % interval (_low, _high), and the published ones. Its last row,
mean, is over the findings for which every column has an AUROC, so that columns can be compared,
without No Finding; its intervals are given where these are all the findings of a net.
"""

import json
from pathlib import Path

import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.chestxray14 import NO_FINDING
from cxr.files import write_table
from cxr.tables import read_table

SCORES = ["class", "f1", "recall", "precision"]
COLUMNS = ["study", "accuracy", "f1", "covid19_recall", "covid19_precision"]


def compare_published(metrics, summaries, aurocs, published, out, out_aurocs):
    rows = []
    for net, path in metrics.items():
        scores = read_table(path, SCORES).set_index("class")
        accuracy = read_table(summaries[net], numbers=["accuracy"]).accuracy[0]
        covid19 = scores.loc["covid19"]
        rows.append((net, accuracy, scores.f1["mean"], covid19.recall, covid19.precision))
    ours = pd.DataFrame(rows, columns=COLUMNS)
    theirs = pd.DataFrame(published["studies"]).reindex(columns=COLUMNS)
    write_table(out, pd.concat([ours, theirs]))

    tables = {name: read_aurocs(path, name) for name, path in aurocs.items()}
    table = pd.concat([found for found, _ in tables.values()], axis=1).reset_index()
    for name, values in published["aurocs"].items():
        table[name] = table.finding.map(values)
    findings = table[table.finding != NO_FINDING].set_index("finding")
    values = findings[[*aurocs, *published["aurocs"]]]
    shared = values.dropna()
    mean = {"finding": "mean", "positive": None, "n": table.n.max()} | shared.mean().to_dict()
    for name, (_, bounds) in tables.items():
        if set(findings[name].dropna().index) == set(shared.index):
            mean |= bounds
    write_table(out_aurocs, pd.concat([table, pd.DataFrame([mean])]))


def read_aurocs(path, name):
    """evaluate_findings' AUROCs, as columns name, name_low, name_high, and the mean's interval.

    By finding, positive and n; not a number where there is none. The interval: {column: value}.
    """
    scores = ["auroc", "auroc_low", "auroc_high"]
    table = read_table(path, ["finding", "positive", "n", *scores])
    table[scores] = table[scores].apply(pd.to_numeric)
    table = table.rename(columns={score: score.replace("auroc", name) for score in scores})
    is_mean = table.finding == "mean"
    bounds = table.loc[is_mean, [f"{name}_low", f"{name}_high"]].to_dict("records")
    found = table[~is_mean].astype({"positive": int})
    return found.set_index(["finding", "positive", "n"]), bounds[0] if bounds else {}


if __name__ == "__main__":
    arguments = parser(__doc__)
    tables = ("metrics", "summaries", "aurocs")
    for name in tables:
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
        )
    arguments.add_argument("--published", type=json.loads, required=True, help="JSON of numbers")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--out-aurocs", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        compare_published(**chosen | {name: dict(chosen[name]) for name in tables})
