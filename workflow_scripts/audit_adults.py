"""Audit: what do nets call adults without a finding?

The database's normal images are of children in one hospital. ChestX-ray14's No Finding test images
are of other people elsewhere: a net that knows sources or ages, not diseases, calls them COVID-19.

Tried are people of 18 years or more by the label table, one image of each. Images that a net was
trained or validated on are left out: those whose picture (--pairs) is in the COVID-19 database's
train or val split. Of nets that were pretrained on ChestX-ray14 elsewhere it isn't known whether
they saw the others.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, progress, user_errors
from cxr.data.chestxray14 import NO_FINDING, read_ages
from cxr.data.covid19 import read_image_table
from cxr.data.image_sets import open_by_split
from cxr.data.overlaps import PRETRAINING, check_pretraining, same_pictures
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit, span
from cxr.evaluation.intervals import proportion_interval
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net

ADULT = 18  # years
COLUMNS = ["net", "decision", "share", "share_low", "share_high", "n"]
REASONS = (
    "that nets were trained or validated on",
    "of unknown age",
    f"of people under {ADULT}",
    "further images of the same people",
    "beyond the number asked for",
)


def audit_adults(
    nets, images, tables, split, labels, pairs, covid19, pretraining, most, seed, out
):  # fmt: skip
    check_pretraining(nets, pretraining)
    test = open_by_split(images, split, "test", [NO_FINDING], tables)
    normal = test.chosen(np.flatnonzero(test.labels[:, 0] == 1))
    people = describe_people(normal.images, split, labels, pairs, covid19)
    reasons = choose(people, most, seed)
    adults = normal.chosen(np.flatnonzero(reasons == ""))
    of_nets = [shares(net, path, adults) for net, path in progress(nets.items(), "nets")]
    table = pd.DataFrame([row for rows in of_nets for row in rows], columns=COLUMNS)
    elsewhere = [net for net in nets if pretraining[net] == "elsewhere"]
    save_audit(out, table, describe(table, reasons, elsewhere), "report")
    covid19 = table[table.decision == "covid19"]
    plot_intervals(
        out.figure, covid19.net, covid19.share, covid19.share_low,
        covid19.share_high, "adults without a finding called COVID-19",
    )  # fmt: skip


def describe_people(images, split, labels, pairs, covid19):
    """A row per image, in their order: patient_id, age in years, seen (by nets in training)."""
    patients = read_image_table(split, ["patient_id"]).set_index("image").patient_id
    database = read_image_table(covid19, ["split"])
    used = database.image[database.split.isin(["train", "val"])]
    same = same_pictures(pairs)
    seen = set(same.chestxray14_image[same.image.isin(used)])
    return pd.DataFrame(
        {
            "patient_id": patients[images].to_numpy(),
            "age": read_ages(labels).reindex(images).to_numpy(),
            "seen": images.isin(seen).to_numpy(),
        }
    )


def choose(people, most, seed):
    """Which of REASONS leaves an image out, an empty text where none does; the first that holds.

    Of a patient's images, and of all patients, those that are tried are sampled at random.
    """
    seen, unknown = people.seen, people.age.isna()
    reasons = pd.Series(np.select([seen, unknown, people.age < ADULT], REASONS[:3], ""))
    order = np.random.default_rng(seed).permutation(len(people))
    left = people.patient_id.iloc[order][(reasons == "").to_numpy()[order]]
    further = left.duplicated()
    reasons[left.index[further]] = REASONS[3]
    reasons[left.index[~further][most:]] = REASONS[4]
    return reasons


def shares(name, path, adults):
    """Rows of COLUMNS of a net: how many adults it decides for each output."""
    if not len(adults):
        return []
    device = select_device()
    net, description = load_net(path)
    decisions = predict_logits(net, adults, device).argmax(axis=1)
    n = len(adults)
    counts = [int((decisions == number).sum()) for number in range(len(description["outputs"]))]
    return [
        (name, output, count / n, *proportion_interval(count, n), n)
        for output, count in zip(description["outputs"], counts, strict=True)
    ]


def describe(table, reasons, elsewhere):
    """Result. elsewhere: nets of which it isn't known which images they were pretrained on."""
    counts = [(int((reasons == reason).sum()), reason) for reason in REASONS]
    left_out = ", ".join(f"{n} {reason}" for n, reason in counts if n) or "none"
    left_out = f"left out of {len(reasons)} No Finding test images of ChestX-ray14: {left_out}"
    if table.empty:
        return f"no adult without a finding is left, so that nothing can be said; {left_out}"
    covid19 = table[table.decision == "covid19"]
    result = (
        f"of {table.n.max()} adults without a finding, one image each, a net calls "
        f"{span(covid19.share, '{:.0%}')} COVID-19; {left_out}"
    )
    if elsewhere:
        result += (
            f"; whether the pretraining of {', '.join(elsewhere)}, done elsewhere, saw the others "
            "is not known"
        )
    return result


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays (.npy)")
    arguments.add_argument("--tables", type=Path, nargs="+", required=True, help="their CSVs")
    arguments.add_argument("--split", type=Path, required=True, help="ChestX-ray14's split.csv")
    arguments.add_argument("--labels", type=Path, required=True, help="NIH's label table")
    arguments.add_argument("--pairs", type=Path, required=True, help="of the audit pretraining")
    arguments.add_argument("--covid19", type=Path, required=True, help="its split.csv")
    arguments.add_argument(
        "--pretraining", type=pair(), nargs="+", required=True, metavar="NET=WHERE",
        help=f"where it was pretrained on ChestX-ray14: {', '.join(PRETRAINING)}",
    )  # fmt: skip
    arguments.add_argument("--most", type=int, required=True, help="images, at most")
    arguments.add_argument("--seed", type=int, required=True)
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_adults(
            **chosen | {"nets": dict(chosen["nets"]), "pretraining": dict(chosen["pretraining"])}
        )
