"""How figures look and how they are saved."""

import matplotlib

from cxr.files import whole

matplotlib.use("Agg")
# The same figure gives the same bytes: ids in SVGs are drawn from the salt, and no date is kept.
matplotlib.rcParams.update(
    {
        "svg.hashsalt": "cxr",
        "svg.fonttype": "none",
        "font.family": "sans-serif",
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.prop_cycle": matplotlib.cycler(
            color=["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9"]
        ),
        "figure.dpi": 150,
    }
)


def save_figure(path, figure):
    """Save as SVG; the file appears whole or not at all."""
    with whole(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight")
