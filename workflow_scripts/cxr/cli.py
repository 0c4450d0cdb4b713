"""How a step talks: one-line errors, progress where somebody watches."""

import argparse
import os
import sys
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave is wrong; the message says what was found, expected, and to do."""


def parser(description):
    """Argument parser of a step: its description is the script's docstring, defaults are shown."""
    return argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def pair(kind=str):
    """Type of an argument NAME=VALUE: a tuple of the name, and the value as a kind."""

    def name_and_value(text):
        name, separator, value = text.partition("=")
        if not separator:
            raise ValueError(text)
        return name, kind(value)

    return name_and_value


def add_threads(arguments):
    """Add --threads to a parser, by default as many as Snakemake allots to the job."""
    arguments.add_argument(
        "--threads",
        type=int,
        default=int(os.environ.get("OMP_NUM_THREADS", 1)),
        help="default: OMP_NUM_THREADS, else 1",
    )


@contextmanager
def user_errors():
    """Turn errors that a user can mend into one line on stderr and exit code 1.

    Only InputError and OSError are such; any other is a defect of the program and keeps its
    traceback.
    """
    try:
        yield
    except (InputError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def progress(items, what, total=None):
    """Iterate with a progress bar on a terminal; silent in a log file."""
    from tqdm import tqdm  # record.py, around every step, shows none

    return tqdm(items, desc=what, total=total, disable=not sys.stderr.isatty(), leave=False)
