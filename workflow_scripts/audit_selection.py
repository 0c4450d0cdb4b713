"""Audit: nothing was chosen by looking at test images.

Each phase keeps the epoch of the lowest validation loss; no image that nets were trained or
validated on, by name or by the bytes of its file, is a test image. Else the audit fails. Test
accuracies after other phases than the last (figure 1) are descriptive.
"""

from pathlib import Path

import pandas as pd
from cxr.audits import plot_intervals, save_audit
from cxr.covid19 import read_image_table
from cxr.logs import parser, user_errors


def audit_selection(histories, augmented, split, out):
    images = read_image_table(split, ["split", "sha256"])
    test = images[images.split == "test"]
    seen = set().union(*(read_image_table(path).image for path in augmented))
    seen_bytes = set(images.sha256[images.image.isin(seen)])
    leaked = test[test.image.isin(seen) | test.sha256.isin(seen_bytes)]
    rows = []
    for path in histories:
        history = pd.read_csv(path)
        best = history.loc[history.val_loss.idxmin()]
        net, phase = path.parts[-3:-1]
        rows.append((net, phase, int(best.epoch), len(history), best.val_loss, "val_loss"))
    columns = ["net", "phase", "kept_epoch", "epochs", "val_loss", "chosen_by"]
    table = pd.DataFrame(rows, columns=columns)
    result = (
        f"{len(leaked)} of {len(test)} test images are among those that nets were trained or "
        f"validated on; all {len(table)} phases keep the epoch of the lowest validation loss"
    )
    save_audit(out, table, result, "fail" if len(leaked) else "pass")
    labels = table.net + ", " + table.phase
    plot_intervals(
        out.with_suffix(".svg"), labels, table.kept_epoch, 0 * table.epochs + 1, table.epochs,
        "epochs of a phase, and the one that was kept",
    )  # fmt: skip


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--histories", type=Path, nargs="+", required=True)
    arguments.add_argument("--augmented", type=Path, nargs="+", required=True, help="their CSVs")
    arguments.add_argument("--split", type=Path, required=True)
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        audit_selection(**vars(arguments.parse_args()))
