"""Explain predictions by layer-wise relevance propagation: which pixels are evidence for a class.

The class to explain is in the column `explain` of the images' table; without this column, it is the
class that the net predicts. Relevance is of the class's logit, before the sigmoid. The methods are
described in the library, under cxr/lrp. Writes

relevance.npz: float32 (size, size) per image and method, summed over channels; positive is
  evidence for the class;
heatmaps.csv: the columns of the images' table, with their `class` renamed to `true_class` and
  `explain` to `class`; then method, logit, relevance_sum, conservation_error, which is
  |relevance_sum - logit| / |logit| (empty for a logit of 0), and relevance, the name in
  relevance.npz;
pictures/NAME.png: each map, by itself and over its image.
"""

from itertools import cycle
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, add_threads, parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.files import atomic_write, write_table
from cxr.lrp.heatmaps import conservation_error, save_heatmap
from cxr.lrp.innvestigate import METHODS, relevance_maps
from cxr.nets.keras_nets import keras_logits, load_net, read_description


def explain(model, images, relevance, table, pictures, methods, threads):
    description = read_description(model)
    size, outputs = description["image_size"], description["outputs"]
    pixels, rows = open_images(images)
    if pixels.shape[1:] != (size, size):
        raise InputError(f"{images}: array {pixels.shape}; the net takes (n, {size}, {size})")
    if "explain" not in rows:
        net, _ = load_net(model)
        rows["explain"] = np.array(outputs)[keras_logits(net, np.array(pixels)).argmax(axis=1)]
    if unknown := [name for name in rows.explain if name not in outputs]:
        raise InputError(f"{images}: explain {unknown[0]!r}; the net has the outputs {outputs}")
    rows = rows.rename(columns={"class": "true_class", "explain": "class"})
    neurons = [outputs.index(name) for name in rows["class"]]
    maps, explained = {}, []
    by_method = relevance_maps(model, np.array(pixels), neurons, methods, threads)
    for method, (found, logits) in by_method.items():
        names = [f"{place:03d}_{name}_{method}" for place, name in enumerate(rows["class"])]
        sums = found.sum(axis=(1, 2), dtype=np.float64)
        if not np.isfinite(sums).all():
            image = rows.image[~np.isfinite(sums)].iloc[0]
            raise InputError(f"{model}: relevance of {image} by {method} is not finite")
        maps |= dict(zip(names, found, strict=True))
        explained.append(
            rows.assign(
                method=method,
                logit=logits,
                relevance_sum=sums,
                conservation_error=conservation_error(sums, logits),
                relevance=names,
            )
        )
    with atomic_write(relevance) as temporary:
        np.savez_compressed(temporary, **maps)
    write_table(table, pd.concat(explained))
    for name, image in zip(maps, cycle(pixels)):  # all images by one method, then by the next
        save_heatmap(pictures / f"{name}.png", maps[name], image)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--model", type=Path, required=True, help=".h5 of the Keras net")
    add_image_set(arguments, "--images", "the images")
    arguments.add_argument("--relevance", type=Path, required=True, help=".npz to write")
    arguments.add_argument("--table", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--pictures", type=Path, required=True, help="folder to write to")
    arguments.add_argument("--methods", nargs="+", choices=METHODS, required=True)
    add_threads(arguments)
    with user_errors():
        explain(**vars(arguments.parse_args()))
