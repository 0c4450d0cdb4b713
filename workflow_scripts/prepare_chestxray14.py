"""Read one of ChestX-ray14's archives, without unpacking it, into an array of grey images.

Writes OUT.npy, uint8 (n, size, size), and OUT.csv with the image's name for each row. An image
that can't be read or has no row in the label table stops the step.
"""

import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.arrays import save_images
from cxr.chestxray14 import read_labels
from cxr.decoding import UnreadableImage, read_grey
from cxr.images import to_square
from cxr.logs import InputError, parser, progress, user_errors


def prepare_chestxray14(archive, labels, size, out):
    labelled = set(read_labels(labels).image)
    names, pixels = [], []
    for name, image in progress(read_archive(archive), archive.name):
        if name not in labelled:
            raise InputError(f"{archive}: image {name} has no row in {labels}")
        names.append(name)
        pixels.append(to_square(image, size))
    if not names:
        raise InputError(f"{archive}: no PNG images in it")
    save_images(out, np.stack(pixels), pd.DataFrame({"image": names}))


def read_archive(archive):
    """Yield (file name, grey PIL image) for each PNG of a tar.gz, streaming."""
    try:
        with tarfile.open(archive, mode="r|gz") as members:
            for member in members:
                if member.isfile() and member.name.endswith(".png"):
                    try:
                        yield Path(member.name).name, read_grey(members.extractfile(member).read())
                    except UnreadableImage as error:
                        raise InputError(f"{archive}: {member.name}: {error}") from error
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{archive}: not a whole tar.gz archive ({error})") from error


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--archive", type=Path, required=True)
    arguments.add_argument("--labels", type=Path, required=True, help="NIH's label table")
    arguments.add_argument("--size", type=int, required=True, help="pixels, width and height")
    arguments.add_argument("--out", type=Path, required=True, help=".npy to write")
    with user_errors():
        prepare_chestxray14(**vars(arguments.parse_args()))
