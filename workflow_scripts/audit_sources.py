"""Audit: is the class a function of where an image is from?

Counts images by class and source, the host of the page that the database's metadata names.
Cramer's V is 0 where the source tells nothing of the class, 1 where it tells all.
"""

from pathlib import Path
from urllib.parse import urlsplit

import pandas as pd
from cxr.audits import save_audit
from cxr.covid19 import CLASSES, read_image_table
from cxr.figures import save_figure
from cxr.logs import parser, user_errors
from matplotlib import pyplot as plt
from scipy.stats.contingency import association

SHOWN = 12  # sources with most images; the others are drawn as one


def audit_sources(metadata, split, out):
    table = read_image_table(metadata, ["class", "url"])
    used = read_image_table(split, ["split"])
    table = table[table.image.isin(used.image[used.split != "excluded"])]
    table["source"] = [host(url) for url in table.url]
    counts = pd.crosstab(table.source, table["class"]).reindex(columns=CLASSES, fill_value=0)
    counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False).index]
    known = counts.drop(index="", errors="ignore")
    known = known.loc[:, known.sum() > 0]
    n_known, n = int(known.to_numpy().sum()), len(table)
    if not n_known:
        result = "no image's source is known, so that this audit could not be made"
    elif min(known.shape) > 1:
        alone = known[(known > 0).sum(axis=1) == 1].to_numpy().sum() / n_known
        v = association(known, method="cramer")
        result = (
            f"of {n_known} images with a known source {alone:.0%} are from one that has images of "
            f"one class alone; Cramer's V of class and source {v:.2f}"
        )
    else:
        result = f"all {n_known} images with a known source are of one source or one class"
    if n_known:
        result += f"; the source of {n - n_known} of {n} images is not known"
    save_audit(out, counts.rename(index={"": "unknown"}).reset_index(), result, "report")
    plot(out.with_suffix(".svg"), counts.rename(index={"": "unknown"}))


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
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        audit_sources(**vars(arguments.parse_args()))
