"""Find the lungs in X-rays of your own, as masks. Research only, not a medical device.

--net is results/lungs/net.safetensors, or its folder, as train_lungs.py writes it. --images are
PNG, JPEG, TIFF or DICOM files, or folders of such. Writes into --out

NAME.png: for each image, in the same folders, a mask of its size: lungs white, all else black;
lungs.csv: a row per image: file, mask, share (of the image's area that is lungs), warnings, and an
    error where the image can't be read.

Of what the net finds the two largest parts count, and their holes are filled. It takes for lungs
what those who drew the masks did: V7 Labs' hold what lies behind the heart, too. Warnings: lungs
that cover too little or too much of the image, or lie on one side; a lateral or unknown view (DICOM
alone says which), inverted-looking, tiny, of another shape, coloured or constant.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.decoding import read_bytes
from cxr.data.images import to_square
from cxr.data.lungs import implausible
from cxr.data.pixels import reason_of
from cxr.data.user_images import DICOM, find_images, quality_warnings, read_content
from cxr.files import atomic_write, write_table
from cxr.nets.devices import select_device
from cxr.nets.lung_nets import find_lungs, load_lung_net
from PIL import Image

NOTE = "Research only, not a medical device."


def segment_lungs(net, images, out):
    model, size = load_lung_net(net)
    device = select_device()
    model = model.to(device)
    rows = []
    for path, name in progress(place_masks(images, out).items(), "images"):
        row = {"file": path, "mask": "", "share": None, "warnings": "", "error": ""}
        try:
            grey, found = read_image(path, size)
        except Exception as error:  # nothing about one image may cost the others their masks
            row["error"] = reason_of(error)
        else:
            (lungs,) = find_lungs(model, size, [grey], device)
            save_mask(out / name, lungs)
            found += filter(None, [implausible(lungs)])
            row |= {"mask": name, "share": round(lungs.mean(), 4), "warnings": "; ".join(found)}
        rows.append(row)
    table = pd.DataFrame(rows)
    write_table(out / "lungs.csv", table)
    report(table, out)


def place_masks(given, out):
    """{path of an image: path of its mask below out}; says what was skipped.

    Masks have the names of their images, with .png for another suffix; where that would be the name
    of two, behind it. Raises InputError where there is no image.
    """
    paths, skipped = find_images(given, out.resolve())
    for reason, number in skipped.items():
        print(f"{number} files in folders skipped: {reason}", file=sys.stderr)
    if not paths:
        raise InputError(f"no image in {', '.join(map(str, given))}")
    folders = [folder.absolute() for folder in given if folder.is_dir()]
    names = {}
    for path in paths:
        inside = [folder for folder in folders if path.absolute().is_relative_to(folder)]
        place = path.absolute().relative_to(inside[0]) if inside else Path(path.name)
        name = place.with_suffix(".png")
        if str(name).lower() in names:
            name = place.with_name(f"{place.name}.png")
        names[str(name).lower()] = path, str(name)
    return dict(names.values())


def read_image(path, size):
    """The grey PIL image of a file, and warnings. size: pixels that the net takes."""
    grey, found = read_content(read_bytes(path), path.suffix.lower() in DICOM)
    return grey, found + quality_warnings(grey, to_square(grey, size))


def save_mask(path, lungs):
    """Write lungs, bool (h, w), as a PNG of 0 and 255; it appears whole or not at all."""
    with atomic_write(path) as temporary:
        Image.fromarray(255 * lungs.astype(np.uint8)).save(temporary, "PNG")


def report(table, out):
    """Say how many masks there are, and of what. Raises InputError where there is none."""
    bad = table[table.error != ""]
    said = f"{len(bad)} of {len(table)} images can't be read"
    if len(bad):
        said += f", first {bad.file.iloc[0]}: {bad.error.iloc[0]}"
    if len(bad) == len(table):
        raise InputError(said)
    if len(bad):
        print(f"warning: {said}", file=sys.stderr)
    doubted = table[table.warnings != ""]
    for row in doubted.head(5).itertuples():
        print(f"warning: {row.file}: {row.warnings}", file=sys.stderr)
    if len(doubted) > 5:
        print(f"warning: {len(doubted) - 5} more in {out / 'lungs.csv'}", file=sys.stderr)
    print(f"{len(table) - len(bad)} masks: {out}")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help="results/lungs/net.safetensors")
    arguments.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="FOLDER", help="or images"
    )
    arguments.add_argument("--out", type=Path, required=True, help="folder to write to")
    with user_errors():
        chosen = vars(arguments.parse_args())
        print(NOTE, file=sys.stderr)
        segment_lungs(**chosen)
