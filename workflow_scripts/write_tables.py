"""Write tables 1 to 3 beside the paper's, a summary of all nets, and headline.csv for the report.

The paper prints tables 2 and 3 for nets A and C; for others its columns are empty.
"""

import json
from pathlib import Path

import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.covid19 import CLASSES
from cxr.files import write_table
from cxr.tables import read_table

SCORES = ("recall", "precision", "f1")


def write_tables(
    confusion, metrics, summaries, architectures, processes, paper,
    out_summary, headline, table1, table2, table3,
):  # fmt: skip
    printed = paper["accuracy"]
    summary = stack(summaries)
    summary["paper_accuracy"] = summary.net.map(printed)
    write_table(out_summary, summary)
    write_table(headline, headline_of(summary))
    write_table(table1, table1_of(summary, architectures, processes))
    write_table(table2, table2_of(stack(confusion), printed, paper["confusion"]))
    write_table(table3, table3_of(stack(metrics), printed, paper["metrics"]))


def headline_of(summary):
    columns = {
        "net": summary.net,
        "right": [f"{row.n - row.errors} of {row.n}" for row in summary.itertuples()],
        "accuracy": with_interval(summary, "accuracy"),
        "macro AUROC": with_interval(summary, "macro_auc"),
        "accuracy in the paper": [
            f"{v:.3f}" if v == v else "not printed" for v in summary.paper_accuracy
        ],
    }
    return pd.DataFrame(columns)


def table1_of(summary, architectures, processes):
    table = pd.DataFrame({"net": list(architectures)})
    table["architecture"] = table.net.map(architectures)
    table["training_process"] = table.net.map(processes)
    accuracy = ["accuracy", "accuracy_low", "accuracy_high", "paper_accuracy"]
    return table.merge(summary[["net", *accuracy]], on="net")


def table2_of(table, printed, values):
    """Confusion matrices beside the paper's."""
    for number, name in enumerate(CLASSES):
        table[f"paper_{name}"] = theirs(table, printed, values, number).astype("Int64")
    return table


def table3_of(table, printed, values):
    """Scores by class beside the paper's."""
    for number, score in enumerate(SCORES):
        table[f"paper_{score}"] = theirs(table, printed, values, number)
    return table


def with_interval(table, score):
    """A score and its 95 % interval, where it has one, as text, for each row."""
    columns = (table[score], table[f"{score}_low"], table[f"{score}_high"])
    return [
        f"{value:.3f} [{low:.3f}, {high:.3f}]" if low == low else f"{value:.3f}"
        for value, low, high in zip(*columns, strict=True)
    ]


def stack(paths):
    """One table of all nets' tables, with a first column net."""
    tables = {net: read_table(path) for net, path in paths.items()}
    return pd.concat(tables, names=["net"]).reset_index(level="net").reset_index(drop=True)


def theirs(table, printed, values, number):
    """The paper's value for each row's class, where the paper prints that net's."""
    column = table["class"].map({name: row[number] for name, row in values.items()})
    return column.where(table.net.isin(printed))


if __name__ == "__main__":
    arguments = parser(__doc__)
    tables = ("confusion", "metrics", "summaries")
    for name in tables:
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="+", required=True, metavar="NET=CSV"
        )
    words = ("architectures", "processes")
    for name in words:
        arguments.add_argument(f"--{name}", type=pair(), nargs="+", required=True, metavar="NET=X")
    arguments.add_argument("--paper", type=json.loads, required=True, help="JSON of its numbers")
    for name in ("out-summary", "headline", "table1", "table2", "table3"):
        arguments.add_argument(f"--{name}", type=Path, required=True, help="CSV to write")
    chosen = vars(arguments.parse_args())
    with user_errors():
        write_tables(**chosen | {name: dict(chosen[name]) for name in (*tables, *words)})
