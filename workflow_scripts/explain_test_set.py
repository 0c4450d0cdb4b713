"""Explain every test image by each method.

Relevance is of the logit of a class, in the images with words covered. Writes

pictures: a folder of PNGs for the gallery: each image with and without its words covered, and
  overlays of the relevance of every class by each method;
relevance: .npz of float32 (n, size, size) of the predicted class, named by the method;
seconds: CSV of method, images, seconds (of an image) and images_per_second;
table: CSV of image, true_class, class (the predicted one), group (if images have one), method,
  logit, relevance_sum and conservation_error, |relevance_sum - logit| / |logit|; empty for
  Grad-CAM, which does not add up.
"""

import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import parser, progress, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.files import atomic_write, write_table
from cxr.lrp.heatmaps import colour_limit, sums_beside_logits
from cxr.lrp.methods import METHODS, heatmaps
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from PIL import Image


def explain_test_set(net, edited, unedited, methods, pictures, relevance, table, seconds):
    device = select_device()
    net, description = load_net(net)
    outputs = np.array(description["outputs"])
    data = open_by_class(edited, outputs)
    pixels = {"edited": open_images(edited)[0], "unedited": open_images(unedited)[0]}
    logits = predict_logits(net, data, device)
    decisions = logits.argmax(axis=1)
    every_class = np.tile(np.arange(len(outputs)), (len(decisions), 1))
    maps, seconds_each = {}, {}
    with whole_folder(pictures) as folder:
        for version, squares in pixels.items():
            for number, square in enumerate(progress(squares, version)):
                Image.fromarray(square).save(folder / f"{number}_{version}.png")
        for method in methods:
            start = time.perf_counter()
            found = heatmaps(net, pixels["edited"], every_class, [method], device)[method]
            seconds_each[method] = (time.perf_counter() - start) / every_class.size
            maps[method] = found[np.arange(len(decisions)), decisions]
            for number, name in enumerate(outputs):
                draw_overlays(found[:, number], folder, f"{method}_{name}")
    with atomic_write(relevance) as temporary:
        np.savez_compressed(temporary, **maps)
    each = pd.Series(seconds_each)
    columns = {
        "images": every_class.size,
        "seconds": each,
        "images_per_second": 1 / each,
    }
    write_table(seconds, pd.DataFrame(columns).rename_axis("method").reset_index())
    columns = {
        "image": data.images,
        "true_class": outputs[data.labels.argmax(axis=1)],
        "class": outputs[decisions],
    }
    if "group" in (rows := open_images(edited)[1]):
        columns["group"] = rows.group
    parts = [
        pd.DataFrame(columns | sums_beside_logits(method, found, logits.max(axis=1)))
        for method, found in maps.items()
    ]
    write_table(table, pd.concat(parts))


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


def draw_overlays(maps, folder, name):
    """A PNG NUMBER_NAME of each map (n, size, size): the weaker the relevance, the more clear."""
    for number, relevance in enumerate(progress(maps, name)):
        limit = colour_limit(relevance)
        scale = ScalarMappable(Normalize(-limit, limit), cmap="bwr")
        colours = scale.to_rgba(relevance, bytes=True)
        colours[..., 3] = 255 * np.clip(np.abs(relevance) / limit, 0, 1)
        Image.fromarray(colours).save(folder / f"{number}_{name}.png")


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--net", type=Path, required=True, help=".safetensors")
    add_image_set(arguments, "--edited", "test images, words covered")
    add_image_set(arguments, "--unedited", "test images, unedited")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    arguments.add_argument("--pictures", type=Path, required=True, help="folder to write")
    arguments.add_argument("--relevance", type=Path, required=True, help=".npz to write")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--seconds", type=Path, required=True, help="CSV to write")
    with user_errors():
        explain_test_set(**vars(arguments.parse_args()))
