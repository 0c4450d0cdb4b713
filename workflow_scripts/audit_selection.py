"""Audit: no net saw a test image in any training, and none was chosen by looking at them.

A net saw a test image if, by name or by the bytes of its file, it is among the COVID-19 images that
nets were trained or validated on, or if its picture (--pairs) is one of ChestX-ray14's train or val
images and the net was pretrained on these here: then the audit fails. Of nets that were pretrained
on ChestX-ray14 elsewhere, with another split, it isn't known. Test accuracies after other phases
than the last (figure 1) are descriptive.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import pair, parser, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.overlaps import PRETRAINING, check_pretraining, same_pictures
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from cxr.tables import read_table

COLUMNS = ["net", "phase", "kept_epoch", "epochs", "val_loss", "chosen_by"]
SEEN = {  # number of test images that a net saw: column, and in words
    "trained_on": "trained on",
    "validated_on": "validated on",
    "pretraining_trained_on": "trained on in ChestX-ray14",
    "pretraining_validated_on": "validated on in ChestX-ray14",
}


def audit_selection(histories, train, val, split, pairs, chestxray14, pretraining, out):
    phases = pd.DataFrame([kept_epoch(path) for path in histories], columns=COLUMNS)
    check_pretraining(phases.net, pretraining)
    images = read_image_table(split, ["split", "sha256"])
    test = images[images.split == "test"]
    on_covid19 = {
        "trained_on": among(images, test, train),
        "validated_on": among(images, test, val),
    }
    seen = {
        net: on_covid19 | in_pretraining(test, pairs, chestxray14, pretraining[net])
        for net in phases.net.unique()
    }
    counts = pd.DataFrame(
        [{name: len(found) for name, found in of_net.items()} for of_net in seen.values()],
        index=list(seen),
    )
    table = phases.join(counts.assign(test_images=len(test)), on="net")
    save_audit(out, table, *describe(seen, len(test), phases))
    plot_intervals(
        out.figure, phases.net + ", " + phases.phase, phases.kept_epoch,
        0 * phases.epochs + 1, phases.epochs, "epochs of a phase, and the one that was kept",
    )  # fmt: skip


def kept_epoch(path):
    """A row of COLUMNS for a phase: the epoch whose weights train_phase keeps."""
    history = read_table(path, ["val_loss"], numbers=["epoch"])
    net, phase = path.parts[-3:-1]
    losses = pd.to_numeric(history.val_loss, errors="coerce")
    losses = losses[np.isfinite(losses)]
    if losses.empty:
        return net, phase, np.nan, len(history), np.nan, "not known"
    best = history.loc[losses.idxmin()]
    return net, phase, int(best.epoch), len(history), best.val_loss, "val_loss"


def among(images, test, variants):
    """Names of the test images that are in a table of variants, by name or by a file's bytes."""
    used = set(read_image_table(variants).image)
    same_bytes = set(images.sha256[images.image.isin(used)]) - {""}
    return set(test.image[test.image.isin(used) | test.sha256.isin(same_bytes)])


def in_pretraining(test, pairs, chestxray14, where):
    """Names of the test images that a net saw when it was pretrained, and of those it may have."""
    found = same_pictures(pairs)
    found = found[found.image.isin(test.image)]
    split_of = read_image_table(chestxray14, ["split"]).set_index("image").split
    split = found.chestxray14_image.map(split_of)
    sets = {name: set(found.image[split == name]) for name in ("train", "val")}
    return {
        "pretraining_trained_on": sets["train"] if where == "here" else set(),
        "pretraining_validated_on": sets["val"] - sets["train"] if where == "here" else set(),
        "not_known": set(found.image) if where == "elsewhere" else set(),
    }


def describe(seen, n_test, phases):
    """Result and gate; nets of which the same is to be said share a sentence."""
    nets_of = {}
    for net, of_net in seen.items():
        nets_of.setdefault(describe_net(of_net, n_test), []).append(net)
    said = ". ".join(f"{', '.join(nets)}: {text}" for text, nets in nets_of.items())
    result = f"test images that a net was trained or validated on, in any training. {said}"
    unknown = int(phases.val_loss.isna().sum())
    if unknown:
        result += f". In {unknown} of {len(phases)} phases no validation loss is a number"
    else:
        result += (
            f". Training keeps the epoch of the lowest validation loss in each of {len(phases)} "
            "phases"
        )
    if not n_test:
        return f"there is no test image, so that nothing can be said of them. {result}", "report"
    if any(of_net[name] for of_net in seen.values() for name in SEEN):
        return result, "fail"
    not_known = unknown or any(of_net["not_known"] for of_net in seen.values())
    return result, "report" if not_known else "pass"


def describe_net(of_net, n_test):
    known = set().union(*(of_net[name] for name in SEEN))
    parts = [f"{len(of_net[name])} {words}" for name, words in SEEN.items() if of_net[name]]
    text = f"{len(known)} of {n_test}" + (f" ({', '.join(parts)})" if parts else "")
    if n := len(of_net["not_known"] - known):
        text += f"; of {n} others, which are in ChestX-ray14, it is not known: pretrained elsewhere"
    return text


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--histories", type=Path, nargs="+", required=True)
    arguments.add_argument("--train", type=Path, required=True, help="CSV of train variants")
    arguments.add_argument("--val", type=Path, required=True, help="CSV of val variants")
    arguments.add_argument("--split", type=Path, required=True, help="the COVID-19 images'")
    arguments.add_argument("--pairs", type=Path, required=True, help="of the audit pretraining")
    arguments.add_argument("--chestxray14", type=Path, required=True, help="its split.csv")
    arguments.add_argument(
        "--pretraining", type=pair(), nargs="+", required=True, metavar="NET=WHERE",
        help=f"where it was pretrained on ChestX-ray14: {', '.join(PRETRAINING)}",
    )  # fmt: skip
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_selection(**chosen | {"pretraining": dict(chosen["pretraining"])})
