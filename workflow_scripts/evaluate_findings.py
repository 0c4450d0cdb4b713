"""AUROC per finding of a net on ChestX-ray14's test images, with 95 % intervals by patient.

Writes finding, positive, n, auroc, auroc_low and auroc_high, and a last row, mean, over the
findings with an AUROC, without No Finding. AUROCs of fewer than --min-images positive, or other,
images are left empty: of ten, intervals are half as wide as all that is possible.

With --min-mean-auroc, a lower mean over the findings (without No Finding; of however few images)
stops the step: weights that were loaded under wrong names, or into the wrong layers, give a net
that runs but has learnt nothing (mean AUROC near 0.5).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, user_errors
from cxr.data.chestxray14 import NO_FINDING, read_findings
from cxr.evaluation.intervals import auroc_interval
from cxr.evaluation.scores import auroc
from cxr.files import write_table


def evaluate_findings(logits, split, min_images, out, min_mean_auroc=0.0):
    predicted, labels = read_findings(logits, split)
    test = (labels.split == "test").to_numpy()
    outputs, patients = [*predicted], labels.patient_id[test].to_numpy()
    scores, positive = predicted[test].to_numpy(), labels.loc[test, outputs].to_numpy() == 1
    areas = [
        auroc(of_finding, of_net)[0]
        for finding, of_finding, of_net in zip(outputs, positive.T, scores.T, strict=True)
        if finding != NO_FINDING and 0 < of_finding.sum() < len(of_finding)
    ]
    mean = np.mean(areas) if areas else np.nan
    if min_mean_auroc and not mean >= min_mean_auroc:  # written so that no AUROC at all fails
        raise InputError(
            f"{logits}: mean AUROC {mean:.3f} on {len(scores)} test images, expected at least "
            f"{min_mean_auroc}: were the net's weights loaded into the right layers?"
        )
    write_table(out, aurocs(outputs, positive, scores, patients, min_images))


def aurocs(findings, positive, scores, patients, min_images):
    """The table that is written. positive: bool (n, findings); scores: (n, findings)."""
    rows, of_mean, n = [], [], len(patients)
    for number, finding in enumerate(findings):
        labels = positive[:, number]
        sizes = int(labels.sum()), int((~labels).sum())
        area, bounds = np.nan, (np.nan, np.nan)
        if min(sizes) >= min_images:
            area, influence = auroc(labels, scores[:, number])
            bounds = auroc_interval(area, influence, patients, [sizes])
            of_mean += [(area, influence, sizes)] if finding != NO_FINDING else []
        rows.append((finding, sizes[0], n, area, *bounds))
    if of_mean:
        areas, influences, sizes = zip(*of_mean, strict=True)
        area, influence = np.mean(areas), np.mean(influences, axis=0)
        bounds = auroc_interval(area, influence, patients, sizes)
        rows.append(("mean", None, n, area, *bounds))
    columns = ["finding", "positive", "n", "auroc", "auroc_low", "auroc_high"]
    return pd.DataFrame(rows, columns=columns).astype({"positive": "Int64"})


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--logits", type=Path, required=True, help="of predict_findings")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--min-images", type=int, required=True, help="of each kind")
    arguments.add_argument(
        "--min-mean-auroc", type=float, default=0.0, help="smallest mean; default: 0"
    )
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        evaluate_findings(**vars(arguments.parse_args()))
