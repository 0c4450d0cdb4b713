"""Train a net that finds lungs, on masks that somebody drew, and say how well it does.

--masks NAME=PATH is a folder or a zip file of masks, --images NAME=PATH one of their images, for
any number of sources. A mask belongs to the image of its name; it is used where it has the image's
size: otherwise it was drawn on another copy of the picture. A metadata.csv among the images, as the
COVID-19 image data collection has it (filename, patientid, finding), says whose they are and what
they show; without it the folder of an image is its class. Of --patients (image, patient_id) the
patients alone are taken.

Trains a net on all pairs, --net, and one without each of --folds parts, to measure Dice there:
images of one patient and copies of a picture are in one part. Writes

pairs.csv: mask, image, source, class, group, fold, dice (of the net that was trained without it),
    and the reason, where it is not used;
dice.csv: mean Dice with a 95 % interval, by group, of all pairs, of each source and each class;
the sheet: the pairs of the lowest Dice; outlined: drawn (blue), found (orange).

Takes minutes on a CPU and does not resume.
"""

import io
import sys
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.duplicates import find_copies
from cxr.data.image_sets import usable
from cxr.data.lungs import Files, match_names, read_pair, resized
from cxr.data.pixels import reason_of
from cxr.data.splits import duplicate_groups
from cxr.evaluation.intervals import mean_interval
from cxr.figures import contact_sheet
from cxr.files import write_table
from cxr.nets.devices import select_device
from cxr.nets.lung_nets import OUTPUTS, find_lungs
from cxr.nets.torch_nets import save_net
from cxr.training.lungs import fit
from sklearn.model_selection import GroupKFold

PAIRS = ["mask", "image", "source", "class", "group", "fold", "dice", "reason"]
SUMMARY = ["of", "name", "dice", "dice_low", "dice_high", "lowest", "n"]
OUT = ["net", "pairs", "dice", "sheet"]
SETTINGS = {
    "encoder": str, "image_size": int, "steps": int, "batch_size": int, "learning_rate": float,
    "folds": int, "seed": int, "candidates": int, "correlation": float,
}  # fmt: skip
SHOWN, SHOWN_SIZE, COLUMNS = 12, 240, 6
DRAWN_COLOUR, FOUND_COLOUR = (0, 114, 178), (230, 159, 0)


def train_lungs(masks, images, patients, settings, out):
    """masks, images: {name of a source: path}. patients: {image: patient}. settings: SETTINGS.

    candidates, correlation: of covid19.duplicates. out: {one of OUT: path}.
    """
    device = select_device()
    table, pixels, drawn = read_sources(masks, images, patients, 2 * settings["image_size"])
    used = usable(table)
    folds = settings["folds"]
    table.loc[used, "group"] = groups_of(table[used], pixels, settings)
    if (n := table.group[used].nunique()) < 2 * folds:
        raise InputError(
            f"found masks that fit their images of {n} patients or pictures, expected at least "
            f"{2 * folds} for {folds} folds; why others don't fit is said above"
        )
    table.loc[used, "fold"] = folds_of(table[used], settings)
    found = cross_validated(table[used], pixels, drawn, settings, device)
    table.loc[used, "dice"] = np.round([dice(*both) for both in zip(found, drawn, strict=True)], 4)
    net = trained(pixels, drawn, settings, device)
    description = {"architecture": settings["encoder"], "outputs": OUTPUTS}
    save_net(out["net"], net, description | {"image_size": settings["image_size"]})
    write_table(out["pairs"], table[PAIRS])
    write_table(out["dice"], summary(table[used], settings["seed"]))
    plot_worst(out["sheet"], table[used].reset_index(drop=True), pixels, drawn, found)


# The pairs


def read_sources(masks, images, patients, size):
    """(table of all masks, images uint8 (n, size, size) and masks, bool alike, of usable ones)."""
    if masks.keys() != images.keys():
        raise InputError(
            f"masks of {sorted(masks)}, but images of {sorted(images)}; expected both of each"
        )
    rows, pixels, drawn = [], [], []
    for name in progress(masks, "sources"):
        of_images, of_masks = Files(images[name]), Files(masks[name])
        about = read_metadata(of_images, patients)
        for match in progress(match_names(of_images.images, of_masks.images), name):
            row = {"source": name, "mask": match.mask, "image": match.image, "reason": match.reason}
            if not match.reason:
                try:
                    both = read_pair(of_images, of_masks, match, size)
                except Exception as error:  # nothing about one image may cost the others their rows
                    row["reason"] = reason_of(error)
                else:
                    pixels.append(both[0])
                    drawn.append(both[1])
            rows.append(row | about(match.image))
        print_left_out(name, [row["reason"] for row in rows if row["source"] == name])
    columns = {"group": -1, "fold": -1, "dice": np.nan}
    return pd.DataFrame(rows).assign(**columns), np.array(pixels), np.array(drawn)


def print_left_out(name, reasons):
    """Say how many masks of a source are used, and why others are not."""
    print(f"{name}: {reasons.count('')} of {len(reasons)} masks used", file=sys.stderr)
    for reason in sorted(set(reasons) - {""}):
        print(f"warning: {name}: {reasons.count(reason)} left out: {reason}", file=sys.stderr)


def read_patients(path):
    """{image: patient} of those that a table knows."""
    if not path:
        return {}
    table = read_image_table(path, ["patient_id"])
    return {row.image: row.patient_id for row in table.itertuples() if row.patient_id}


def read_metadata(images, patients):
    """A function from an image's path to its class and patient (empty: unknown). images: Files."""
    known = {}
    for name in images.all:
        if name.rpartition("/")[2] == "metadata.csv":
            known |= read_collection(images, name)

    def about(image):
        path = PurePosixPath(image)
        folder = path.parent.name or images.root.stem
        finding, patient = known.get(path.name, (folder, patients.get(image, "")))
        return {"class": finding, "patient_id": patient}

    return about


def read_collection(images, name):
    """{file name: (finding, patient)} of the COVID-19 image data collection's table."""
    content = images.source(name)
    source = io.BytesIO(content) if isinstance(content, bytes) else content
    table = pd.read_csv(source, dtype=str, keep_default_na=False).rename(columns=str.lower)
    needed = ["filename", "finding", "patientid"]
    if missing := [column for column in needed if column not in table]:
        print(
            f"warning: {images.root}: {name} has no column {missing[0]}: ignored", file=sys.stderr
        )
        return {}
    rows = zip(table.filename, table.finding, table.patientid, strict=True)
    return {name: (finding.rpartition("/")[2], patient) for name, finding, patient in rows}


def groups_of(table, pixels, settings):
    """Number of each image's group: images of a patient, and copies of a picture, (n,)."""
    names = table.source + "/" + table["mask"]
    of_source = table.patient_id.where(table.patient_id == "", table.source + table.patient_id)
    copies = find_copies(
        list(pixels), candidates=settings["candidates"], least=settings["correlation"]
    )
    links = [(names.iloc[copy.first], names.iloc[copy.second]) for copy in copies]
    pairs = pd.DataFrame(links, columns=["image", "duplicate"], dtype=object)
    return duplicate_groups(pd.DataFrame({"image": names, "patient_id": of_source}), pairs)


def folds_of(table, settings):
    """Number of the fold that each image is tried in, (n,); a group is in one fold."""
    splitter = GroupKFold(settings["folds"], shuffle=True, random_state=settings["seed"])
    folds = np.empty(len(table), int)
    for number, (_, tried) in enumerate(splitter.split(table, groups=table.group)):
        folds[tried] = number
    return folds


# Training, and how well it goes


def trained(pixels, drawn, settings, device):
    """A net trained on images and masks."""
    names = ("encoder", "image_size", "steps", "batch_size", "learning_rate", "seed")
    return fit(pixels, drawn, device=device, **{name: settings[name] for name in names})


def cross_validated(table, pixels, drawn, settings, device):
    """Lungs in each image, bool (n, size, size), by a net that was trained without its fold."""
    found, folds = np.empty_like(drawn), table.fold.to_numpy()
    for fold in progress(range(settings["folds"]), "folds"):
        tried = folds == fold
        net = trained(pixels[~tried], drawn[~tried], settings, device)
        found[tried] = list(find_lungs(net, settings["image_size"], pixels[tried], device))
    return found


def dice(one, other):
    """Dice of two masks, bool alike: twice what they share over the sum of their areas."""
    return 2 * np.count_nonzero(one & other) / (np.count_nonzero(one) + np.count_nonzero(other))


def summary(table, seed):
    """Rows of SUMMARY: mean Dice of all pairs, of each source, and of each class."""
    parts = [("all", "all", table)]
    parts += [("source", name, part) for name, part in table.groupby("source")]
    parts += [("class", name, part) for name, part in table.groupby("class")]
    rows = []
    for of, name, part in parts:
        values = part.dice.to_numpy()
        bounds = np.round(mean_interval(values, part.group.to_numpy(), seed, (0, 1)), 4)
        rows.append((of, name, round(values.mean(), 4), *bounds, values.min(), len(part)))
    return pd.DataFrame(rows, columns=SUMMARY)


def plot_worst(path, table, pixels, drawn, found):
    """Contact sheet of the pairs of the lowest Dice, with both outlines."""
    worst = table.dice.nsmallest(SHOWN)
    images = [outlined(pixels[place], drawn[place], found[place]) for place in worst.index]
    names = table.image[worst.index].str.rpartition("/")[2].str.slice(0, 24)
    contact_sheet(
        path, images, [f"{name}: {value:.2f}" for name, value in zip(names, worst, strict=True)],
        COLUMNS,
    )  # fmt: skip


def outlined(pixels, drawn, found):
    """An image, uint8 (s, s), in RGB with the outlines of two masks."""
    shown = cv2.cvtColor(cv2.resize(pixels, (SHOWN_SIZE, SHOWN_SIZE)), cv2.COLOR_GRAY2RGB)
    for mask, colour in ((drawn, DRAWN_COLOUR), (found, FOUND_COLOUR)):
        edges, _ = cv2.findContours(
            resized(mask, SHOWN_SIZE).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(shown, edges, -1, colour)
    return shown


if __name__ == "__main__":
    arguments = parser(__doc__)
    for name, what in (
        ("masks", "folder or zip file of masks"),
        ("images", "that of their images"),
    ):
        arguments.add_argument(
            f"--{name}", type=pair(Path), nargs="+", required=True, metavar="NAME=PATH", help=what
        )
    arguments.add_argument("--patients", type=Path, help="CSV: image, patient_id")
    for name, kind in SETTINGS.items():
        arguments.add_argument(f"--{name.replace('_', '-')}", type=kind, required=True)
    for name in OUT:
        arguments.add_argument(f"--{name}", type=Path, required=True, help="to write")
    given = vars(arguments.parse_args())
    with user_errors():
        train_lungs(
            dict(given["masks"]), dict(given["images"]), read_patients(given["patients"]),
            {name: given[name] for name in SETTINGS}, {name: given[name] for name in OUT},
        )  # fmt: skip
