"""Fetch the COVID-19 Radiography Database and list its images.

The data set is a folder or zip file (--local), or is downloaded by kagglehub (--kaggle, a handle
with its version). FOLDER gets a link to each image, in its class folder, and to the database's
Excel tables. MANIFEST lists the images: image (path relative to FOLDER), class, bytes, sha256.
"""

import os
import zipfile
from collections import Counter
from pathlib import Path

import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.covid19 import CLASSES, TABLES
from cxr.data.decoding import image_files, print_passed
from cxr.data.folders import is_clutter
from cxr.data.sources import fetch_kaggle, file_sum, link_local, unpack_zip
from cxr.files import write_table


def download_covid19(folder, manifest, classes, local=None, kaggle=None):
    source = fetch_kaggle(kaggle) if kaggle else local
    if not source.exists():
        raise InputError(
            f"{source}: no such folder or zip file; it is configured as the local source of covid19"
        )
    if zipfile.is_zipfile(source):
        source = unpack_zip(source, folder.with_name(f"{folder.name}_unpacked"))
    root = class_root(source, classes.values())
    if folder.is_symlink():
        folder.unlink()
    rows = []
    for name in CLASSES:
        class_folder, passed = classes[name], Counter()
        files = image_files(root / class_folder, passed)
        print_passed(root / class_folder, passed)
        for file in progress(files, class_folder):
            path = root / class_folder / file
            image = f"{class_folder}/{file.as_posix()}"
            # What can't be read is left to inspect_covid19, which names it.
            digest = file_sum(path, "sha256") if os.access(path, os.R_OK) else ""
            rows.append((image, name, path.stat().st_size, digest))
            link_local(path, folder / image)
    for table in sorted(root.glob(TABLES)):
        link_local(table, folder / table.name)
    write_table(manifest, pd.DataFrame(rows, columns=["image", "class", "bytes", "sha256"]))


def class_root(source, folders):
    """source, or the one folder in it, that holds the class folders with images."""
    inside = sorted(path for path in source.iterdir() if not is_clutter(path.name))
    for root in (source, *(path for path in inside if path.is_dir())):
        if all(any(image_files(root / folder)) for folder in folders):
            return root
    found = ", ".join(path.name for path in inside[:8])
    raise InputError(f"{source}: expected folders of images {list(folders)}, found {found}")


if __name__ == "__main__":
    arguments = parser(__doc__)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--local", type=Path, help="folder or zip file")
    source.add_argument("--kaggle", help="OWNER/NAME/versions/N")
    arguments.add_argument("--folder", type=Path, required=True)
    arguments.add_argument("--manifest", type=Path, required=True)
    arguments.add_argument(
        "--classes", type=pair(), nargs="+", required=True, metavar="CLASS=FOLDER"
    )
    with user_errors():
        settings = vars(arguments.parse_args())
        download_covid19(**settings | {"classes": dict(settings["classes"])})
