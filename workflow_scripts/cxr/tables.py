"""Tables of people, of other studies and of earlier steps: read here, and nowhere else."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr.cli import InputError
from cxr.contents import ZIP, read_rows, what_is

# How people and programs write that a value is missing, in lower case.
MISSING = frozenset(
    ("", "na", "n/a", "#n/a", "<na>", "nan", "none", "null", "-", "-1", "?", "missing", "unknown")
)


def is_missing(values):
    """Whether each text of a Series is empty or one of MISSING, in any case, bool."""
    return values.str.strip().str.lower().isin(MISSING)


def read_table(
    path, columns=(), filled=(), numbers=(), text=(), choices=None, unique=(), empty=False,
    rename=None, encoding="utf-8",
):  # fmt: skip
    """Read a table, CSV (plain or gzipped) or .xlsx, as a DataFrame.

    columns, filled, numbers, choices: columns that must be there; filled: text with a value in each
    row that is not one of MISSING; numbers: a finite number in each row; choices: {column: the
    texts that may stand in it}. unique: columns that have no value twice. text: columns, where they
    are there, of text that may be empty; "NA" and "None" are words like others.
    All other columns are numbers, or True and False, where all their values are, else text; what is
    empty there is NaN. empty: the table may have no rows. rename: function of a column's name.
    encoding: of a CSV.
    Raises InputError that names the file, the line, what was found and what is expected.
    """
    choices = choices or {}
    needed = list(dict.fromkeys((*filled, *columns, *choices, *numbers)))
    if Path(path).suffix.lower() == ".xlsx":
        names, rows = _read_workbook(path, needed, rename)
    else:
        names, rows = read_rows(path, needed, rename, encoding)
    if not rows and not empty:
        raise InputError(f"{path}: found a header and no rows, expected at least one row")
    table = pd.DataFrame([fields for _, fields in rows], columns=names, dtype=object)
    for name in names:
        if name in choices:
            bad = ~table[name].isin(choices[name])
            _refuse(path, rows, table, bad, name, f"one of {list(choices[name])}")
        elif name in filled:
            _refuse(path, rows, table, is_missing(table[name]), name, "a value")
        elif name in numbers:
            values = pd.to_numeric(table[name], errors="coerce")
            _refuse(path, rows, table, ~np.isfinite(values), name, "a number")
            table[name] = values
        elif name not in text:
            table[name] = _inferred(table[name])
        if name in unique:
            twice = table[name].duplicated()
            _refuse(path, rows, table, twice, name, "it in one row only")
    return table


def _refuse(path, rows, table, bad, name, expected):
    """Raise InputError for the first row whose value in a column is bad, bool (n,)."""
    if bad.any():
        place = int(bad.to_numpy().argmax())
        row = "" if table.columns[0] == name else f", {table.iloc[place, 0]!r}"
        raise InputError(
            f"{path}, line {rows[place][0]}{row}: found {table[name].iloc[place]!r} in the column "
            f"{name!r}, expected {expected}"
        )


def _inferred(values):
    """A column of text as numbers or bool where all values are; what is empty is NaN."""
    if len(values) and values.isin(["True", "False"]).all():
        return values == "True"
    values = values.where(values != "", np.nan)
    try:
        return pd.to_numeric(values)
    except ValueError:
        return values


def _read_workbook(path, columns, rename):
    """read_rows for the first sheet of an Excel workbook."""
    import openpyxl

    expected = f"an Excel workbook with columns {list(columns)}"
    if (kind := what_is(path)) != ZIP:
        raise InputError(f"{path}: found {kind or 'another format'}, expected {expected}")
    try:
        sheet = openpyxl.load_workbook(path, read_only=True, data_only=True).worksheets[0]
        cells = [["" if cell is None else str(cell) for cell in row] for row in sheet.values]
    # openpyxl raises whatever its zip and XML readers and its own classes raise.
    except Exception as error:
        raise InputError(
            f"{path}: found a damaged workbook ({type(error).__name__}: {error}), "
            f"expected {expected}"
        ) from error
    rows = [(line, fields) for line, fields in enumerate(cells, start=1) if any(fields)]
    names = [field.strip() for field in rows[0][1]] if rows else []
    names = [rename(name) for name in names] if rename else names
    if missing := [column for column in columns if column not in names]:
        raise InputError(f"{path}: no column {missing[0]!r}; found {names}, expected {expected}")
    return names, [(line, fields[: len(names)]) for line, fields in rows[1:]]
