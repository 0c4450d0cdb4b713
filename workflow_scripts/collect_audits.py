"""Collect the results of all audits: audit, result, and gate (pass, fail, report).

With --strict, a failed audit stops the step.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.evaluation.audits import GATES
from cxr.files import write_table
from cxr.tables import read_table


def collect_audits(findings, strict, out):
    table = pd.concat([read(path) for path in findings])
    failed = table[table.gate == "fail"]
    if strict and len(failed):
        first = failed.iloc[0]
        raise InputError(f"{len(failed)} audits failed; the first is {first.audit}: {first.result}")
    write_table(out, table)


def read(path):
    """A finding: audit, result, gate."""
    return read_table(path, filled=["audit", "result"], choices={"gate": GATES})


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--findings", type=Path, nargs="+", required=True)
    arguments.add_argument("--strict", action="store_true")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        collect_audits(**vars(arguments.parse_args()))
