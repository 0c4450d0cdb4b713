"""Write tables 1 to 3 beside the paper's, a summary of all nets, and headline.csv for the report.

--results holds a folder per net with confusion.csv, metrics.csv and summary.csv. The paper
prints tables 2 and 3 for nets A and C; for others its columns are empty.
"""

import json
from pathlib import Path

import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.covid19 import CLASSES
from cxr.files import write_table
from cxr.tables import read_table

SCORES = ("recall", "precision", "f1")


def write_tables(results, architectures, processes, paper, out):
    printed = paper["accuracy"]
    nets = list(architectures)
    summary = stack(results, nets, "summary")
    summary["paper_accuracy"] = summary.net.map(printed)
    write_table(out / "summary.csv", summary)

    headline = {
        "net": summary.net,
        "right": [f"{row.n - row.errors} of {row.n}" for row in summary.itertuples()],
        "accuracy": with_interval(summary, "accuracy"),
        "macro AUROC": with_interval(summary, "macro_auc"),
        "accuracy in the paper": [
            f"{v:.3f}" if v == v else "not printed" for v in summary.paper_accuracy
        ],
    }
    write_table(out / "headline.csv", pd.DataFrame(headline))

    table1 = pd.DataFrame({"net": nets})
    table1["architecture"] = table1.net.map(architectures)
    table1["training_process"] = table1.net.map(processes)
    accuracy = ["accuracy", "accuracy_low", "accuracy_high", "paper_accuracy"]
    write_table(out / "table1.csv", table1.merge(summary[["net", *accuracy]], on="net"))

    table2 = stack(results, nets, "confusion")
    for number, name in enumerate(CLASSES):
        table2[f"paper_{name}"] = theirs(table2, printed, paper["confusion"], number).astype(
            "Int64"
        )
    write_table(out / "table2.csv", table2)

    table3 = stack(results, nets, "metrics")
    for number, score in enumerate(SCORES):
        table3[f"paper_{score}"] = theirs(table3, printed, paper["metrics"], number)
    write_table(out / "table3.csv", table3)


def with_interval(table, score):
    """A score and its 95 % interval as text, for each row."""
    columns = (table[score], table[f"{score}_low"], table[f"{score}_high"])
    return [
        f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in zip(*columns, strict=True)
    ]


def stack(results, nets, name):
    """One table of all nets' NAME.csv, with a first column net."""
    tables = {net: read_table(results / net / f"{name}.csv") for net in nets}
    return pd.concat(tables, names=["net"]).reset_index(level="net").reset_index(drop=True)


def theirs(table, printed, values, number):
    """The paper's value for each row's class, where the paper prints that net's."""
    column = table["class"].map({name: row[number] for name, row in values.items()})
    return column.where(table.net.isin(printed))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--results", type=Path, required=True, help="folder of the nets' folders"
    )
    arguments.add_argument(
        "--architectures", type=pair(), nargs="+", required=True, metavar="NET=X"
    )
    arguments.add_argument("--processes", type=pair(), nargs="+", required=True, metavar="NET=X")
    arguments.add_argument("--paper", type=json.loads, required=True, help="JSON of its numbers")
    arguments.add_argument("--out", type=Path, required=True, help="folder to write to")
    chosen = vars(arguments.parse_args())
    with user_errors():
        for key in ("architectures", "processes"):
            chosen[key] = dict(chosen[key])
        write_tables(**chosen)
