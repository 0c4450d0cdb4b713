"""Find the lungs in image sets: by a net, or in masks that somebody drew.

With --net, as train_lungs.py writes it, the net finds them in the images as they are in the arrays.
With --masks, a folder of masks by the names of the images (COVID-19/COVID-19 (1).png), they are
resized as the images were; --manifest has the sizes of the stored images, which masks have to have.
Where a mask is missing or doesn't fit, and where what the net finds can't be the lungs of a frontal
view, a central ellipse takes their place.

Writes OUT.npz: masks, bool (n, size, size); and OUT.csv with a row for each image, each once:
image, lungs (net with its cross-validated Dice of --dice, masks, or ellipse), share (of the area),
and the reason why it is the ellipse.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.covid19 import read_image_table
from cxr.data.decoding import read_grey
from cxr.data.image_sets import add_image_set, open_all
from cxr.data.lungs import (
    ELLIPSE,
    MASKS,
    Files,
    ellipse,
    implausible,
    lungs_in,
    match_names,
    resized,
    save_lungs,
)
from cxr.data.pixels import reason_of
from cxr.tables import read_table


def find_lungs(images, tables, out, net=None, dice=None, masks=None, manifest=None):
    pixels, places, names = read_sets(images, tables)
    size = pixels[0].shape[1]
    lungs, reasons = np.zeros((len(names), size, size), bool), [""] * len(names)
    if net:
        kind = described(dice)
        by_net(lungs, [pixels[number][row] for number, row in places], net)
    else:
        kind = MASKS
        reasons = from_masks(lungs, names, masks, manifest)
    reasons = [reason or implausible(mask) for mask, reason in zip(lungs, reasons, strict=True)]
    instead = np.array([reason != "" for reason in reasons], bool)
    lungs[instead] = ellipse(size)
    table = pd.DataFrame({"image": names, "lungs": np.where(instead, ELLIPSE, kind)})
    table["share"] = np.round(lungs.mean(axis=(1, 2)), 4)
    table["reason"] = reasons
    save_lungs(out, lungs, table)
    print(f"lungs of {len(table)} images: {kind}; {instead.sum()} by the ellipse", file=sys.stderr)


def read_sets(images, tables):
    """Arrays of several sets, and the places (array, row) and names of their images, each once."""
    opened = list(open_all(images, tables))
    places = {}
    for number, (_, rows) in enumerate(opened):
        for row, image in enumerate(rows.image):
            places.setdefault(image, (number, row))
    return [array for array, _ in opened], list(places.values()), list(places)


def by_net(lungs, pictures, path):
    """Put into lungs, bool (n, size, size), what the net at a path finds in uint8 pictures."""
    from cxr.nets import lung_nets  # slow to import, and only this needs it
    from cxr.nets.devices import select_device

    net, size = lung_nets.load_lung_net(path)
    device = select_device()
    found = lung_nets.find_lungs(net.to(device), size, pictures, device)
    for number, mask in enumerate(progress(found, "images", total=len(pictures))):
        lungs[number] = mask


def described(dice):
    """What a net's lungs are called: with its Dice on masks kept apart, and the interval."""
    row = read_table(dice, filled=["of"], numbers=["dice"]).query("of == 'all'").iloc[0]
    bounds = f" [{row.dice_low:.2f}, {row.dice_high:.2f}]" if pd.notna(row.dice_low) else ""
    return f"net, Dice {row.dice:.2f}{bounds}"


def from_masks(lungs, names, folder, manifest):
    """Put into lungs, bool (n, size, size), masks by the names of images; why there are none."""
    stored = read_image_table(manifest, ["width", "height"], unique=["image"]).set_index("image")
    files, reasons = Files(folder), []
    masks = {match.image: match.mask for match in match_names(names, files.images) if match.image}
    for number, image in enumerate(progress(names, "images")):
        reason = "" if image in masks else "no mask"
        if not reason:
            try:
                mask = read_grey(files.source(masks[image]))
                if mask.size != tuple(stored.loc[image, ["width", "height"]]):
                    raise InputError("the mask differs from its image in size")
                lungs[number] = resized(lungs_in(mask), lungs.shape[1])
            except Exception as error:  # nothing about one mask may cost the others
                reason = reason_of(error)
        reasons.append(reason)
    if reasons.count("") == 0:
        raise InputError(
            f"{folder}: found a mask that fits none of {len(names)} images, expected some such as "
            f"{Path(names[0]).with_suffix('.png')}; the first: {reasons[0]}"
        )
    return reasons


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--images", type=Path, nargs="+", required=True, help="arrays, .npy")
    arguments.add_argument("--tables", type=Path, nargs="+", required=True, help="their CSVs")
    by = arguments.add_mutually_exclusive_group(required=True)
    by.add_argument("--net", type=Path, help="of train_lungs")
    by.add_argument("--masks", type=Path, help="folder, or zip file, of masks")
    arguments.add_argument("--dice", type=Path, help="CSV of train_lungs, with --net")
    arguments.add_argument("--manifest", type=Path, help="CSV of inspect_covid19, with --masks")
    add_image_set(arguments, "--out", "to write; the first is an .npz")
    with user_errors():
        find_lungs(**vars(arguments.parse_args()))
