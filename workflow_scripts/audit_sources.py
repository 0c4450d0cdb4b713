"""Audit: is the class a function of where an image is from?

Counts images by class and source, the host of the page that the database's metadata names.
Cramer's V is 0 where the source tells nothing of the class, 1 where it tells all.
"""

from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.overlaps import used_images
from cxr.evaluation.audits import add_outputs, save_audit
from cxr.figures import save_figure
from matplotlib import pyplot as plt
from scipy.stats.contingency import association

SHOWN = 12  # sources with most images; the others are drawn as one


def audit_sources(metadata, split, out):
    used = used_images(read_image_table(split, ["class", "split"]))
    urls = read_image_table(metadata, ["url"]).set_index("image").url
    sources = used.image.map(urls).fillna("").map(host).rename("source")
    counts = pd.crosstab(sources, used["class"]).reindex(columns=CLASSES, fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False).index]
    shown = counts.rename(index={"": "unknown"})
    save_audit(out, shown.reset_index(), describe(counts, len(used)), "report")
    plot(out.figure, shown)


def describe(counts, n):
    """Result. counts: images by source (the unknown one is empty) and class."""
    known = counts.drop(index="", errors="ignore")
    known = known.loc[:, known.sum() > 0]
    n_known = int(known.to_numpy().sum())
    if not n_known:
        return (
            f"the source of none of {n} images is known, so that whether it tells the class can't "
            "be said"
        )
    if min(known.shape) > 1:
        alone = int(known[(known > 0).sum(axis=1) == 1].to_numpy().sum())
        v = association(known, method="cramer")
        result = (
            f"{alone} of {n_known} images with a known source are from one that has images of one "
            f"class only; Cramer's V of class and source {v:.2f}"
        )
    else:
        kinds = " and ".join(
            f"one {name}" for name, size in zip(("source", "class"), known.shape, strict=True)
            if size == 1
        )  # fmt: skip
        result = (
            f"all {n_known} images with a known source are of {kinds}, so that whether the source "
            "tells the class can't be said"
        )
    return f"{result}; the source of {n - n_known} of {n} images is not known"


def host(url):
    return urlsplit(url).netloc.removeprefix("www.") if url else ""


def plot(path, counts):
    others = counts.iloc[SHOWN:].sum().to_frame(f"{len(counts) - SHOWN} others").T
    shown = pd.concat([counts.iloc[:SHOWN], others]) if len(counts) > SHOWN else counts
    drawing, axes = plt.subplots(figsize=(6.5, 0.8 + 0.25 * len(shown)), layout="constrained")
    left = 0
    for name in CLASSES:
        axes.barh(shown.index, shown[name], left=left, label=name)
        left = left + shown[name]
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    save_figure(path, drawing)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--metadata", type=Path, required=True, help="of match_metadata")
    arguments.add_argument("--split", type=Path, required=True)
    add_outputs(arguments)
    with user_errors():
        audit_sources(**vars(arguments.parse_args()))
