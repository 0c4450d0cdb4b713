"""Read one of ChestX-ray14's archives, without unpacking it, into an array of grey images.

Writes OUT.npy, uint8 (n, size, size), and OUT.csv: image, and reason: empty, or why the image can't
be used. Fails if an image has no row in the label table, or if the share of unusable images exceeds
--max-unreadable.
"""

import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.chestxray14 import read_labels
from cxr.data.decoding import check_unreadable, decode, grey_of, print_warnings
from cxr.data.folders import is_clutter
from cxr.data.image_sets import ImageSet, add_image_set, image_writer
from cxr.data.images import to_square
from cxr.data.pixels import reason_of
from cxr.files import write_table
from isal import igzip, isal_zlib


def prepare_chestxray14(archive, labels, size, max_unreadable, out):
    labelled = set(read_labels(labels).image)
    rows, out = [], ImageSet.of(out)
    with image_writer(out.array, size) as append:
        for name, content in progress(read_archive(archive), archive.name):
            if name not in labelled:
                raise InputError(f"{archive}: image {name} has no row in {labels}")
            pixels, *described = read_image(content, size)
            append(pixels)
            rows.append((name, *described))
        table = pd.DataFrame(rows, columns=["image", "reason", "warnings"])
        if table.empty:
            raise InputError(f"{archive}: no PNG images inside")
        check_unreadable(archive, table, max_unreadable)
        print_warnings(archive, table)
    write_table(out.table, table[["image", "reason"]])


def read_image(content, size):
    """Pixels, uint8 (size, size), black if they can't be read; then the reason; warnings."""
    try:
        picture = decode(content)
        return to_square(grey_of(picture), size), "", "; ".join(picture.warnings)
    except Exception as error:  # nothing about one image may cost the others their rows
        return np.zeros((size, size), np.uint8), reason_of(error), ""


def is_png(name):
    return name.lower().endswith(".png") and not is_clutter(name)


def read_archive(archive):
    """Yield (file name, bytes) of each PNG of a tar.gz, streaming. InputError if it is damaged."""
    try:
        with igzip.open(archive) as stream:
            with tarfile.open(fileobj=stream, mode="r|") as members:
                for member in members:
                    if member.isfile() and is_png(member.name):
                        yield Path(member.name).name, members.extractfile(member).read()
            while stream.read(1 << 20):  # to the sum at the end
                pass
    except (tarfile.TarError, EOFError, igzip.BadGzipFile, isal_zlib.error) as error:
        raise InputError(f"{archive}: not a whole tar.gz archive ({error})") from error


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--archive", type=Path, required=True)
    arguments.add_argument("--labels", type=Path, required=True, help="NIH's label table")
    arguments.add_argument("--size", type=int, required=True, help="pixels, width and height")
    arguments.add_argument("--max-unreadable", type=float, required=True, metavar="SHARE")
    add_image_set(arguments, "--out", "images to write")
    with user_errors():
        prepare_chestxray14(**vars(arguments.parse_args()))
