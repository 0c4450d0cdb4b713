"""Check that a net computes the same logits in PyTorch, ONNX Runtime and Keras.

Fails, and writes no table, if in any backend an image is classified differently from PyTorch (by
the largest logit), or a logit differs by more than --tolerance or is not a number. Writes
conversion.csv: backend, n, accuracy, max_abs_logit_difference, disagreements.
"""

import sys
from pathlib import Path

import pandas as pd
from cxr.cli import InputError, add_threads, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.files import write_table
from cxr.nets.keras_nets import keras_logits, load_net, use_threads
from cxr.tables import read_table

REFERENCE = "torch"


class ConversionMismatch(InputError):
    """Two backends that should compute the same logits and don't."""


def check_conversion(model, images, logits, conversion, tolerance, threads):
    use_threads(threads)
    net, description = load_net(model)
    pixels, table = open_images(images)
    by_backend = read_logits(logits, table, description["outputs"])
    by_backend["keras"] = pd.DataFrame(
        keras_logits(net, pixels), columns=description["outputs"], index=table.image
    )
    truth = table["class"].to_numpy()
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
                f"{model}: {backend} and {REFERENCE} differ for {len(failed)} of {len(table)} "
                f"images ({', '.join(failed[:3])}{', ...' if len(failed) > 3 else ''}): "
                f"{row['disagreements']} classified differently, logits differ by up to "
                f"{row['max_abs_logit_difference']:.3g}, tolerance {tolerance:g}"
            )
    write_table(conversion, summary)


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


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help=".h5 of the Keras net")
    add_image_set(arguments, "--images", "the test images")
    arguments.add_argument("--logits", type=Path, required=True, help="CSV of export_onnx")
    arguments.add_argument("--conversion", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--tolerance", type=float, default=1e-3, help="default: 1e-3")
    add_threads(arguments)
    with user_errors():
        check_conversion(**vars(arguments.parse_args()))
