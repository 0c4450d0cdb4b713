"""Compare our nets with published ones: on COVID-19, and on ChestX-ray14's findings.

Writes OUT: study, accuracy, f1 (mean of the classes), recall and precision of COVID-19;
splits and in part the data differ, so differences between rows prove little. Writes
OUT_AUROCS: finding, positive and n of our test images, the AUROC of each of our nets with
ChestX-ray14's findings, and the published ones. Its last row, mean, is over the findings for which
every column has an AUROC, so that columns can be compared, without No Finding.
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

    tables = [read_aurocs(path).rename(columns={"auroc": name}) for name, path in aurocs.items()]
    table = pd.concat(tables, axis=1).reset_index()
    for name, values in published["aurocs"].items():
        table[name] = table.finding.map(values)
    shared = table[table.finding != NO_FINDING].drop(columns=["finding", "positive"]).dropna()
    means = shared.drop(columns="n").mean()
    mean = {"finding": "mean", "positive": None, "n": table.n.max()} | means.to_dict()
    write_table(out_aurocs, pd.concat([table, pd.DataFrame([mean])]))


def read_aurocs(path):
    """auroc of evaluate_findings by finding, positive and n; not a number where there is none."""
    table = read_table(path, ["finding", "positive", "n", "auroc"])
    table["auroc"] = pd.to_numeric(table.auroc)
    return table.set_index(["finding", "positive", "n"])


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
