"""Find patient and view of COVID-19 images through the web pages that they were taken from.

The database's own tables (FOLDER.metadata.xlsx) name a page for each image. The table of the
COVID-19 image data collection (--collection; columns patientid, view, modality, url) names patient
and view of each image of a page. Names do not say which image is which, so an image's patient is
known only if all images of its page are of one patient. Patients found by match_originals
(--originals) take precedence.

Writes a row per image: image, class, url, views (of the page's radiographs in the collection,
such as `L|PA|PA`) and patient_id; empty if unknown.
"""

import re
import sys
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.contents import LOCK, is_lock
from cxr.data.covid19 import TABLES, read_image_table
from cxr.files import write_table
from cxr.tables import is_missing, read_table

COLUMNS = ["patientid", "view", "modality", "url"]


def match_metadata(folder, manifest, collection, originals, out):
    images = read_image_table(manifest, ["class"])[["image", "class"]]
    images["url"] = images.image.map(read_pages(folder, images.image)).fillna("")
    pages = read_collection(collection) if collection else pd.DataFrame(columns=COLUMNS)
    by_page = pages.groupby(pages.url.map(normal))
    views = by_page["view"].agg(lambda views: "|".join(sorted(views)))
    patients = by_page.patientid.agg(lambda ids: ids.iloc[0] if ids.nunique() == 1 else "")
    page = images.url.map(normal)
    images["views"], images["patient_id"] = page.map(views), page.map(patients)
    if originals:
        found = read_image_table(originals, ["patient_id"], unique=["image"])
        found = found.set_index("image").patient_id
        named = images.image.map(found[found != ""])
        images["patient_id"] = named.fillna(images.patient_id)
    write_table(out, images)
    print(f"{int((images.url != '').sum())} of {len(images)} images have a page", end=", ")
    print(f"{int(images['views'].notna().sum())} have one that the collection lists")


def read_pages(folder, images):
    """Page of each image: {image: URL}, from the database's Excel tables, where there are any."""
    pages = {}
    for path in sorted(folder.glob(TABLES)):
        if is_lock(path):
            print(
                f"warning: {path}: {LOCK}, skipped; close the workbook that it locks",
                file=sys.stderr,
            )
            continue
        table = read_table(path, ["FILE NAME", "URL"], text=["FILE NAME", "URL"])
        class_folder = path.name.split(".")[0]
        numbers = {
            number_of(Path(image).stem): image
            for image in images
            if image.startswith(f"{class_folder}/")
        }
        for name, url in zip(table["FILE NAME"], table["URL"], strict=True):
            image = numbers.get(number_of(str(name)))
            if image and url:
                pages[image] = url
    return pages


def number_of(name):
    """The number that a name ends with: 7 of `COVID-19 (7)`, `COVID-19(7)` and `NORMAL-7`."""
    found = re.search(r"(\d+)\)?$", name)
    return int(found.group(1)) if found else None


def read_collection(path):
    """The collection's radiographs: patientid (empty: unknown), view, modality, url."""
    table = read_table(path, COLUMNS, text=COLUMNS, rename=str.lower)
    table["patientid"] = table.patientid.mask(is_missing(table.patientid), "")
    return table[(table.modality == "X-ray") & (table.url.str.strip() != "")]


def normal(url):
    """A URL without what differs between two ways of writing it; None for an empty one."""
    return re.sub(r"^https?://(www\.)?", "", url.strip().lower()).rstrip("/") or None


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--folder", type=Path, required=True, help="folder of the class folders")
    arguments.add_argument("--manifest", type=Path, required=True, help="CSV of inspect_covid19")
    arguments.add_argument(
        "--collection", type=Path, help="CSV of the collection; without it nothing is known"
    )
    arguments.add_argument("--originals", type=Path, help="CSV of match_originals")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        match_metadata(**vars(arguments.parse_args()))
