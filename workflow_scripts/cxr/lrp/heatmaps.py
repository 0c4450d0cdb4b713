"""Heatmaps: how relevance adds up, and pictures of it."""

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from cxr.files import atomic_write
from cxr.lrp.methods import METHODS


def conservation_error(sums, logits):
    """|sum - logit| / |logit| of each map, (n,); not a number for a logit of 0."""
    error = np.full(len(sums), np.nan)
    return np.divide(np.abs(sums - logits), np.abs(logits), out=error, where=logits != 0)


def sums_beside_logits(method, maps, logits):
    """Columns of a table of maps (n, size, size): method, logit (n,), relevance_sum (n,), and
    conservation_error, not a number where a map of the method is not meant to add up to the logit.
    """
    sums = maps.sum(axis=(1, 2), dtype=np.float64)
    error = conservation_error(sums, logits) if METHODS[method].adds_up else np.nan
    return {
        "method": method, "logit": logits, "relevance_sum": sums, "conservation_error": error,
    }  # fmt: skip


def colour_limit(relevance, percentile=99.5):
    """The |relevance| drawn in full colour: few pixels would else bleach all others; never 0."""
    limit = np.percentile(np.abs(relevance), percentile)
    return limit or np.abs(relevance).max() or 1.0


def draw_heatmap(axes, relevance, pixels=None, limit=None):
    """Draw relevance (s, s) on matplotlib axes, over the radiograph uint8 (s, s) where given.

    Red speaks for the class, blue against it. The scale is symmetric, -limit to limit; the weaker
    the relevance, the more shows through.
    Returns the colours and scale, for Figure.colorbar.
    """
    limit = limit or colour_limit(relevance)
    scale = ScalarMappable(Normalize(-limit, limit), cmap="bwr")
    colours = scale.to_rgba(relevance)
    if pixels is not None:
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        colours[..., 3] = np.clip(np.abs(relevance) / limit, 0, 1)
    axes.imshow(colours)
    axes.set_axis_off()
    return scale


def save_heatmap(path, relevance, pixels):
    """Write a PNG: the radiograph, the relevance, and the relevance over the radiograph."""
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    plain, alone, over = figure.subplots(1, 3)
    plain.imshow(pixels, cmap="gray", vmin=0, vmax=255)
    plain.set_axis_off()
    draw_heatmap(alone, relevance)
    scale = draw_heatmap(over, relevance, pixels)
    figure.colorbar(scale, ax=over, label="relevance")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=150, metadata={"Software": None})
