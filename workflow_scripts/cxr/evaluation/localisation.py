"""How well heatmaps localise: positive relevance compared with the mask of what is to be found.

The measures of a map are 1 where it is its mask, and the mask's share of the area where it is
constant: where values are equal, each counts as much as if chance broke the tie. A map without
positive relevance says nothing of where to look: it is scored as a constant one, and counted.

pointing_game: whether the maximum lies in the mask (Zhang et al. 2018, doi
  10.1007/s11263-017-1059-x), without that paper's tolerance of 15 pixels: the masks are generous.
relevance_mass: share of the relevance that lies in the mask; rank_accuracy: share of the K most
  relevant pixels that do, K being the mask's (Arras et al. 2022, doi 10.1016/j.inffus.2021.11.008).
iou: intersection over union of the mask and the pixels of at least a share of the map's maximum.
iou_best: the same at the one of THRESHOLDS that gives the largest mean, so an upper bound.
beats_gaussian: whether the rank accuracy exceeds a centred Gaussian's; a half where it equals it,
  and 0 without positive relevance.
"""

import numpy as np
import pandas as pd

from cxr.evaluation.intervals import bounded_interval, mean_interval

MEASURES = ("pointing_game", "relevance_mass", "rank_accuracy", "iou", "iou_best", "beats_gaussian")
THRESHOLDS = np.arange(1, 100) / 100  # shares of a map's maximum
ALL = "all"  # what the rows over all findings, or classes, are called


def measure_maps(maps, masks, threshold):
    """Measures of each map: {name: float64 (n,)}, iou_best by threshold, (n, len(THRESHOLDS)).

    maps: float (n, size, size), finite. masks: bool (n, size, size), none of them empty. threshold:
    of iou, 0 to 1. without_relevance, among the names, is 1 where a map has no positive relevance.
    Raises ValueError for other shapes or types, values that are not finite, and empty masks.
    """
    if maps.shape != masks.shape or masks.dtype != bool or not np.isfinite(maps).all():
        raise ValueError(f"maps {maps.shape}, masks {masks.dtype} {masks.shape}, or not finite")
    if not masks.any(axis=(1, 2)).all():
        raise ValueError("found an empty mask, in which nothing can lie")
    positive = np.maximum(maps, 0, dtype=float)
    without = ~positive.any(axis=(1, 2))
    positive[without] = 1
    pairs = [(one[mask], one[~mask]) for one, mask in zip(positive, masks, strict=True)]
    found = {
        "pointing_game": [rank_accuracy(*pair, 1) for pair in pairs],
        "relevance_mass": [inside.sum() / (inside.sum() + rest.sum()) for inside, rest in pairs],
        "rank_accuracy": [rank_accuracy(*pair, len(pair[0])) for pair in pairs],
        "iou": [iou(*pair, [threshold])[0] for pair in pairs],
        "iou_best": [iou(*pair, THRESHOLDS) for pair in pairs],
        "without_relevance": without,
    }
    return {name: np.array(values, float) for name, values in found.items()}


def rank_accuracy(inside, outside, n):
    """Share of a map's n largest values that lie inside; inside, outside: its values, flat."""
    values = np.concatenate([inside, outside])
    least = np.partition(values, len(values) - n)[len(values) - n]
    n_tied, n_above = (values == least).sum(), (values > least).sum()
    return ((inside > least).sum() + (n - n_above) * (inside == least).sum() / n_tied) / n


def iou(inside, outside, thresholds):
    """Intersection over union at each of the thresholds, shares of the largest value."""
    limits = np.asarray(thresholds) * max(inside.max(), outside.max(initial=0))
    hit, false = (
        len(part) - np.searchsorted(np.sort(part), limits, side="left")
        for part in (inside, outside)
    )
    return hit / (len(inside) + false)


def localisation_table(kind, names, groups, areas, scores, seed):
    """A row per name and method, then per method over all: means with 95 % intervals.

    kind: what names are, the first column. names, groups: of each image, (n,); images of a group,
    of a patient, count together. areas: share of the image that its mask takes, (n,). scores:
    {method: what measure_maps returns}, gaussian among them. Columns: kind, method, each of
    MEASURES with _low and _high (but of iou_best), best_threshold, chance (the mean of areas), n,
    and without_relevance, their number.
    """
    names, groups, areas = (np.asarray(values) for values in (names, groups, areas))
    ranks = {method: found["rank_accuracy"] for method, found in scores.items()}
    rows = []
    for name in [*dict.fromkeys(names), ALL]:
        chosen = np.flatnonzero((names == name) | (name == ALL))
        for method, found in scores.items():
            beats = (np.sign(ranks[method] - ranks["gaussian"]) + 1) / 2
            beats = np.where(found["without_relevance"], 0, beats)
            values = {key: of[chosen] for key, of in (found | {"beats_gaussian": beats}).items()}
            n_without = int(values.pop("without_relevance").sum())
            chance = areas[chosen].mean() if len(chosen) else np.nan
            counts = {"chance": chance, "n": len(chosen), "without_relevance": n_without}
            found_means = means(values, groups[chosen], seed)
            rows.append({kind: name, "method": method} | found_means | counts)
    return pd.DataFrame(rows)


def means(values, groups, seed):
    """Mean of each of MEASURES with _low and _high, and the threshold of iou_best.

    iou_best has no interval: its threshold is chosen on the images that it is the mean of. The
    intervals of mean_interval are empty for few groups; of what is 0 or 1 they would be too often.
    """
    found, known = {}, len(groups) > 0
    for name in MEASURES:
        of_images, bounds = values[name], (np.nan, np.nan)
        if name in ("pointing_game", "beats_gaussian") and known:
            bounds = bounded_interval(of_images, 0, 1, groups, seed)
        elif name != "iou_best":
            bounds = mean_interval(of_images, groups, seed, (0, 1))
        found[name] = of_images.mean(axis=0).max() if known else np.nan
        if name != "iou_best":
            found |= {f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
    best = THRESHOLDS[values["iou_best"].mean(axis=0).argmax()] if known else np.nan
    return found | {"best_threshold": best}
