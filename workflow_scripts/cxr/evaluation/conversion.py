"""Whether a net computes the same logits in PyTorch, ONNX Runtime and Keras."""

import sys

import pandas as pd

from cxr.cli import InputError
from cxr.tables import read_table

REFERENCE = "torch"


class ConversionMismatch(InputError):
    """Two backends that should compute the same logits and don't."""


def compare_backends(by_backend, truth, tolerance):
    """A row for each backend: backend, n, accuracy, max_abs_logit_difference, disagreements.

    by_backend: {backend: frame of logits, a row per image}; truth: the images' classes. Raises
    ConversionMismatch where a backend classifies an image differently from PyTorch (by the largest
    logit), or a logit differs by more than tolerance or is not a number.
    """
    checked = {
        backend: compare(values, by_backend[REFERENCE], truth, tolerance)
        for backend, values in by_backend.items()
    }
    summary = pd.DataFrame([row for row, _ in checked.values()])
    summary.insert(0, "backend", list(checked))
    for backend, (row, failed) in checked.items():
        if failed:
            print(summary.to_csv(index=False), file=sys.stderr)
            raise ConversionMismatch(
                f"{backend} and {REFERENCE} differ for {len(failed)} of {len(truth)} images "
                f"({', '.join(failed[:3])}{', ...' if len(failed) > 3 else ''}): "
                f"{row['disagreements']} classified differently, logits differ by up to "
                f"{row['max_abs_logit_difference']:.3g}, tolerance {tolerance:g}"
            )
    return summary


def read_logits(path, table, outputs):
    """Logits by backend, a frame with a row per image of table. InputError if an image differs."""
    logits = read_table(path, outputs, filled=["image", "backend"])
    by_backend = {}
    for backend, rows in logits.groupby("backend", sort=False):
        if rows.image.tolist() != table.image.tolist():
            raise InputError(
                f"{path}: its images for {backend} are not the {len(table)} test images"
            )
        by_backend[backend] = rows.set_index("image")[outputs]
    if REFERENCE not in by_backend:
        raise InputError(f"{path}: no rows of backend {REFERENCE}, only {sorted(by_backend)}")
    return by_backend


def compare(logits, reference, truth, tolerance):
    """One row of conversion.csv, and the images for which logits are not the reference's."""
    difference = (logits - reference).abs().max(axis=1, skipna=False)
    decided = logits.to_numpy().argmax(axis=1)
    differs = decided != reference.to_numpy().argmax(axis=1)
    failed = differs | ~(difference <= tolerance)  # written so that a NaN fails
    row = {
        "n": len(logits),
        "accuracy": (logits.columns.to_numpy()[decided] == truth).mean(),
        "max_abs_logit_difference": difference.max(skipna=False),
        "disagreements": int(differs.sum()),
    }
    return row, logits.index[failed].tolist()
