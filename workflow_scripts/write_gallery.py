"""Write a page of all test images of a net, with predictions, probabilities and heatmaps.

The page, --page filled with image names and numbers as JSON, opens from disk without a server. The
folder --pictures holds its pictures: each image with and without its text covered, and overlays of
the relevance of every class by each method (of the edited image, in PyTorch). InputError if the
predictions are of other images, in another order, or of other classes.
"""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.evaluation.metrics import final_predictions, read_predictions
from cxr.lrp.heatmaps import colour_limit
from cxr.lrp.pytorch import METHODS, relevance_maps
from cxr.nets.devices import select_device
from cxr.nets.torch_nets import load_net
from cxr.pages import add_page, write_page
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image


def write_gallery(net, edited, unedited, predictions, methods, out, pictures, page, style):
    table = read_predictions(predictions)
    opened, decided = {}, []
    for version, path in (("edited", edited), ("unedited", unedited)):
        opened[version], images = open_images(path)
        rows = final_predictions(table, version)
        if not np.array_equal(rows[["image", "class"]], images[["image", "class"]]):
            raise InputError(f"{predictions}: its {version} images or classes differ from {path}")
        decided.append(rows.to_dict("records"))
    if [row["image"] for row in decided[0]] != [row["image"] for row in decided[1]]:
        raise InputError(f"{unedited}: its images differ from {edited}, or are in another order")
    loaded, description = load_net(net)
    classes = description["outputs"]
    with whole_folder(pictures) as folder:
        for version, pixels in opened.items():
            for number, square in enumerate(progress(pixels, version)):
                Image.fromarray(square).save(folder / f"{number}_{version}.png")
        draw_relevance(loaded, opened["edited"], classes, methods, folder)
    data = {
        "net": out.parent.name,
        "classes": classes,
        "methods": methods,
        "pictures": os.path.relpath(pictures, out.parent),
        "images": [
            {"image": one["image"], "class": one["class"]}
            | {
                version: {
                    "predicted": row["predicted"],
                    "sigmoids": [round(row[name], 6) for name in classes],
                }
                for version, row in (("edited", one), ("unedited", other))
            }
            for one, other in zip(*decided, strict=True)
        ],
    }
    write_page(out, page, style, data=data)


@contextmanager
def whole_folder(path):
    """An empty folder to write to that replaces `path` when the block ends well."""
    unfinished = path.with_name(f".{path.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        shutil.rmtree(path, ignore_errors=True)
        unfinished.replace(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def draw_relevance(net, pixels, classes, methods, folder):
    """A PNG for each image, method and class, the more transparent the weaker the relevance."""
    device = select_device()
    for number, name in enumerate(classes):
        found = relevance_maps(net, pixels, np.full(len(pixels), number), methods, device)
        for method, (maps, _) in found.items():
            for place, relevance in enumerate(progress(maps, f"{method}, {name}")):
                limit = colour_limit(relevance)
                scale = ScalarMappable(Normalize(-limit, limit), cmap="bwr")
                colours = scale.to_rgba(relevance, bytes=True)
                colours[..., 3] = 255 * np.clip(np.abs(relevance) / limit, 0, 1)
                Image.fromarray(colours).save(folder / f"{place}_{method}_{name}.png")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--edited", "test images")
    add_image_set(arguments, "--unedited", "test images")
    arguments.add_argument("--predictions", type=Path, required=True, help="predictions.csv")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True, help="of LRP")
    arguments.add_argument("--out", type=Path, required=True, help="HTML to write")
    arguments.add_argument("--pictures", type=Path, required=True, help="folder to write")
    add_page(arguments, "gallery.html")
    with user_errors():
        write_gallery(**vars(arguments.parse_args()))
