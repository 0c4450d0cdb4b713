"""What audits share: how a finding is worded and written."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt

from cxr.figures import save_figure
from cxr.files import write_table

GATES = ("pass", "fail", "report")


class AuditOutputs(NamedTuple):
    """Paths that an audit writes."""

    table: Path
    finding: Path
    figure: Path


class _Outputs(argparse.Action):
    def __call__(self, parser, namespace, values, option=None):
        setattr(namespace, self.dest, AuditOutputs(*values))


def add_outputs(arguments):
    """Add --out, whose value is AuditOutputs, to an audit's arguments."""
    arguments.add_argument(
        "--out", type=Path, nargs=3, action=_Outputs, required=True,
        metavar=("TABLE", "FINDING", "FIGURE"), help="CSV, CSV and SVG to write",
    )  # fmt: skip


def save_audit(out, table, result, gate):
    """Write an audit's table and finding. out: AuditOutputs; the table's name is the audit's.

    result: one line in plain words. gate: pass or fail; or report, where there is no right answer
    or where the audit can't know.
    """
    if gate not in GATES:
        raise ValueError(f"gate {gate!r}; expected one of {GATES}")
    write_table(out.table, table)
    finding = pd.DataFrame([{"audit": out.table.stem, "result": result, "gate": gate}])
    write_table(out.finding, finding)


def span(values, form="{}"):
    """The smallest and the largest value in words, `2 to 5`, or `2` where they are the same."""
    ends = dict.fromkeys((form.format(min(values)), form.format(max(values))))
    return " to ".join(ends)


def plot_intervals(path, labels, values, lows, highs, xlabel, reference=None):
    """A dot with its interval per row; reference: a value to compare with, and its name."""
    drawing, axes = plt.subplots(figsize=(6.5, 0.8 + 0.25 * len(labels)), layout="constrained")
    places = np.arange(len(labels))
    axes.hlines(places, lows, highs, lw=1)
    axes.plot(values, places, "o", ms=4)
    axes.set_yticks(places, labels)
    axes.invert_yaxis()
    axes.set_xlabel(xlabel if len(labels) else f"{xlabel}: none is known")
    if reference:
        value, name = reference
        axes.axvline(value, color="grey", lw=0.8, ls="--", label=name)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    save_figure(path, drawing)
