"""Write a net's model card (Mitchell et al. 2019, arXiv 1810.03993) from its results, as Markdown.

Every number is read from the given files; the results of the audits stand beside the scores.
"""

from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.contents import read_json
from cxr.data.covid19 import CLASSES, INTERNAL, read_image_table
from cxr.files import write_file
from cxr.tables import read_table

CARD = """# {net}: model card

**Research only. Not a medical device.** In the data that this net was made from, the class of an
image is nearly a function of the hospital that it comes from: a high accuracy is no evidence that
lungs are read.

## Model

{architecture} with the outputs {outputs}; {process}. Input: {shape}, {steps}. {output}.
Reproduces {net} of Bassi & Attux 2020; made by a Snakemake workflow{phantoms}.

## Intended use

To study how such nets come to their decisions. Not for patients, not for triage, not for other
images than frontal chest X-rays.

## Data

{train} training and {val} validation images before augmentation, {test} test images of the COVID-19
Radiography Database; words in test images covered. {excluded} images excluded (lateral views,
unreadable files).

## Results on the test images

Accuracy {accuracy:.4f} [{accuracy_low:.4f}, {accuracy_high:.4f}], {errors} of {n} wrong; macro
AUROC {macro_auc:.4f} [{macro_auc_low:.4f}, {macro_auc_high:.4f}]. Intervals are 95 %.

{classes}

Calibration, before and after a temperature fitted on validation images:

{calibration}

## Images from elsewhere

{external}

## What the audits found

{audits}

## Caveats

Test images come from the same collection as the training images. Patients are mostly unknown, so
that one may be in training and test images both.
"""


SCORES = ["set", "n", "accuracy", "accuracy_low", "accuracy_high", "macro_auc"]


def write_model_card(net, model, process, calibration, split, external, audits, phantoms, out):
    record = read_json(model, expected="model.json of publish_net")
    counts = read_image_table(split, ["split"]).split.value_counts()
    scores = pd.DataFrame(record["classes"])[["class", "recall", "precision", "f1", "n"]]
    text = CARD.format(
        net=net,
        architecture=record["architecture"],
        outputs=", ".join(record["outputs"]),
        process=process[0].lower() + process[1:],
        shape=" x ".join(str(length) for length in record["input"]["shape"]),
        steps="; ".join(record["input"]["steps"]),
        output=record["output"].capitalize(),
        phantoms=", here from drawn phantoms: the numbers mean nothing" if phantoms else "",
        **{name: counts.get(name, 0) for name in ("train", "val", "test", "excluded")},
        **record["test"],
        classes=as_markdown(scores),
        calibration=as_markdown(read_table(calibration)),
        external=external_scores(net, external),
        audits=as_markdown(read_table(audits)),
    )
    write_file(out, text)


def external_scores(net, path):
    """A net's scores on external sets, in Markdown, or that there are none."""
    table = read_table(path, ["net", *SCORES], text=["set"])
    rows = table[(table.net == net) & (table.set != INTERNAL)]
    if rows.empty:
        return "No external set was tried."
    return as_markdown(rows[[*SCORES, *(f"recall_{name}" for name in CLASSES)]])


def as_markdown(table):
    """A table in Markdown; floats with four digits, none where there is no number."""
    rows = [table.columns, ["---"] * table.shape[1], *table.itertuples(index=False)]
    cells = [
        [
            "" if value != value else f"{value:.4f}" if isinstance(value, float) else str(value)
            for value in row
        ]
        for row in rows
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", required=True, help="name of the net")
    arguments.add_argument("--model", type=Path, required=True, help="model.json")
    arguments.add_argument("--process", required=True, help="how the net was trained")
    arguments.add_argument("--calibration", type=Path, required=True, help="calibration.csv")
    arguments.add_argument(
        "--split", type=Path, required=True, help="split.csv of the COVID-19 images"
    )
    arguments.add_argument("--external", type=Path, required=True, help="external.csv")
    arguments.add_argument("--audits", type=Path, required=True, help="audits.csv")
    arguments.add_argument("--phantoms", action="store_true", help="the data are phantoms")
    arguments.add_argument("--out", type=Path, required=True, help="Markdown to write")
    with user_errors():
        write_model_card(**vars(arguments.parse_args()))
