"""How figures look and how they are saved."""

import matplotlib
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from cxr.files import atomic_write

matplotlib.use("Agg")
matplotlib.rcdefaults()  # whatever a matplotlibrc of the user's says
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
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def contact_sheet(path, images, captions, columns):
    """Save a grid of images with a caption above each, as JPEG; whole or not at all.

    images: uint8 arrays (h, w), grey, or (h, w, 3), RGB. columns: images in a row.
    """
    rows = max(1, -(-len(images) // columns))
    figure = Figure(figsize=(1.6 * columns, 1.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    if not images:
        grid[0, 0].text(0.5, 0.5, "none", ha="center", va="center")
    described = zip(images, captions, strict=True)
    for axes, (image, caption) in zip(grid.flat, described, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(caption, fontsize=5)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="jpeg", dpi=150, pil_kwargs={"quality": 85})
