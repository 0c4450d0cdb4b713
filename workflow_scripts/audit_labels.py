"""Audit: against whose labels are the nets that others start from right?

ChestX-ray14's labels were text-mined from reports. Radiologists labelled four findings in a part of
its images, with adjudication (Majkowska et al. 2020, doi 10.1148/radiol.2019191293). Of the
pretrained nets, AUROC per finding on the test images that have both, against either set of labels;
of the text-mined labels, their agreement with the radiologists' on all images that have both.

cxr.data.chestxray14 says which findings amount to one of the radiologists': an image is positive by
the text if it has any of them, and a net's score is the largest of their logits. Fracture has none.
Intervals are by patient; below --min-images positive or negative images a value is blank.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.chestxray14 import FINDINGS, RADIOLOGISTS, read_findings, read_radiologists
from cxr.data.covid19 import read_image_table
from cxr.data.overlaps import PRETRAINING, check_pretraining
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from cxr.evaluation.gaps import area_of, gap_of, kappa_of, share_of

COLUMNS = ["of", "finding", "measure", "value", "low", "high", "n", "radiologists", "text"]
TEXT = "text-mined labels"
BY_RADIOLOGISTS, BY_TEXT, CHANGE = "AUROC, radiologists", "AUROC, text-mined", "AUROC, difference"
UNCLEAR, UNKNOWN = "can't be told from 0", "too few to say"
KAPPA, SENSITIVITY, PPV = "kappa", "sensitivity", "positive predictive value"


def audit_labels(logits, split, pretraining, min_images, out, radiologists=None):
    check_pretraining(logits, pretraining)
    rows, n_test = [], 0
    if radiologists:
        seen = read_radiologists(radiologists)
        both = read_image_table(split, ["patient_id", "split", *FINDINGS])
        both = both[both.image.isin(seen.index)]
        rows += agreement(both, seen.loc[both.image], min_images)
        for net, path in logits.items():
            predicted, labels = read_findings(path, split)
            chosen = ((labels.split == "test") & labels.image.isin(seen.index)).to_numpy()
            labels, n_test = labels[chosen], int(chosen.sum())
            rows += aurocs(net, predicted[chosen], labels, seen.loc[labels.image], min_images)
    found = pd.DataFrame(rows, columns=COLUMNS).astype({"text": "Int64"})
    elsewhere = [net for net in logits if pretraining[net] == "elsewhere"]
    save_audit(out, found, describe(found, n_test, elsewhere, bool(radiologists)), "report")
    drawn = found[found.measure.isin([BY_RADIOLOGISTS, BY_TEXT]) & found.value.notna()]
    names = [f"{row.of}, {row.finding}, {row.measure.split(', ')[1]}" for row in drawn.itertuples()]
    plot_intervals(out.figure, names, drawn.value, drawn.low, drawn.high, "AUROC")


def agreement(table, seen, min_images):
    """Rows of COLUMNS: how far the text-mined labels agree with the radiologists'.

    table: image, patient_id and FINDINGS; seen: of read_radiologists, of the same images in order.
    """
    patients, rows = pd.factorize(table.patient_id)[0], []
    for finding, names in RADIOLOGISTS.items():
        one, other = seen[finding].to_numpy(), by_text(table, names)
        counts = len(one), int(one.sum()), int(other.sum()) if names else np.nan
        both_kinds = min(one.sum(), (~one).sum(), other.sum(), (~other).sum()) >= min_images
        found = {
            KAPPA: kappa_of(one, other, patients) if both_kinds else None,
            SENSITIVITY: share_of(other, patients, one)
            if names and one.sum() >= min_images
            else None,
            PPV: share_of(one, patients, other) if other.sum() >= min_images else None,
        }
        rows += [(TEXT, finding, name, *numbers(value), *counts) for name, value in found.items()]
    return rows


def aurocs(net, predicted, table, seen, min_images):
    """Rows of COLUMNS: AUROC of a net against the radiologists', and the text-mined labels.

    predicted: the logit of each output; table, seen: as for agreement, of the same images in order.
    """
    patients, rows = pd.factorize(table.patient_id)[0], []
    for finding, names in RADIOLOGISTS.items():
        outputs = [name for name in names if name in predicted]
        if not outputs:
            continue
        scores = predicted[outputs].max(axis=1).to_numpy()
        labels = seen[finding].to_numpy(), by_text(table, names)
        one, other = (
            area_of(positive, scores, patients, np.ones(len(table), bool))
            if min(positive.sum(), (~positive).sum()) >= min_images
            else None
            for positive in labels
        )
        counts = len(table), *(int(positive.sum()) for positive in labels)
        change = gap_of(one, other, patients)[:3] if one and other else None
        found = {BY_RADIOLOGISTS: one, BY_TEXT: other, CHANGE: change}
        rows += [(net, finding, name, *numbers(value), *counts) for name, value in found.items()]
    return rows


def by_text(table, names):
    """Whether each image has any of the findings, bool (n,)."""
    return (table[[*names]] == 1).any(axis=1).to_numpy()


def numbers(estimate):
    """Value, low, high; not a number where there is no estimate."""
    return estimate[:3] if estimate else [np.nan] * 3


def describe(found, n_test, elsewhere, given):
    """Result. given: whether there are radiologists' labels; elsewhere: nets trained elsewhere."""
    if not given:
        return (
            "no radiologists' labels are given (sources.radiologists), so that how right the "
            "text-mined labels of ChestX-ray14 are, and the nets by better ones, can't be said"
        )
    n = found.n[found.of == TEXT].max()
    known = found[found.value.notna()]
    agreed = known[known.of == TEXT].pivot(index="finding", columns="measure", values="value")
    parts = [
        f"{finding} {row[SENSITIVITY]:.0%} and {row[PPV]:.0%}, kappa {row[KAPPA]:.2f}"
        for finding, row in agreed.dropna().iterrows()
    ]
    result = (
        "share of the radiologists' findings that the text-mined labels have, and share of these "
        f"that radiologists confirm ({n} images): {'; '.join(parts) or UNKNOWN}"
    )
    for net in dict.fromkeys(found.of[found.of != TEXT]):
        changes = known[(known.of == net) & (known.measure == CHANGE)]
        parts = [
            f"{row.finding} {row.value:+.2f} [{row.low:+.2f}, {row.high:+.2f}]"
            + ("" if row.low > 0 or row.high < 0 else f" ({UNCLEAR})")
            for row in changes.itertuples()
        ]
        result += (
            f". AUROC of {net} by radiologists' labels minus that by text-mined ones ({n_test} "
            f"test images): {'; '.join(parts) or UNKNOWN}"
        )
    if elsewhere:
        result += f". Whether {', '.join(elsewhere)}, trained elsewhere, saw them is not known"
    return result


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--logits", type=pair(Path), nargs="+", required=True, metavar="NET=CSV",
        help="of predict_findings",
    )  # fmt: skip
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--radiologists", type=Path, help="table of radiologists' labels")
    arguments.add_argument(
        "--pretraining", type=pair(), nargs="+", required=True, metavar="NET=WHERE",
        help=f"where the net was trained on ChestX-ray14: {', '.join(PRETRAINING)}",
    )  # fmt: skip
    arguments.add_argument("--min-images", type=int, required=True, help="of each kind")
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_labels(
            **chosen
            | {"logits": dict(chosen["logits"]), "pretraining": dict(chosen["pretraining"])}
        )
