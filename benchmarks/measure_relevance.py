"""LRP heatmaps: iNNvestigate on the Keras net against PyTorch on the net itself; seconds an image.

P10 the same rules on the same images, one after another; the time to iNNvestigate's first heatmap,
    as it comes and as the workflow calls it, and the largest memory of its process, stand apart.
    Rank correlations say whether the two agree.

Without --net, one of random weights whose batch norm has seen the images. Run it with the torch
environment's Python; --keras-python is that of the keras environment.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import open_images, save_images
from cxr.lrp.pytorch import METHODS, rank_correlations, relevance_maps
from cxr.nets.devices import select_device
from cxr.nets.inputs import network_input
from cxr.nets.torch_nets import create, load_net, save_net
from randomise_weights import see

SCRIPTS = Path(__file__).parent.parent / "workflow_scripts"
IN_KERAS = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
import numpy as np
import tensorflow as tf
from keras.src.engine import base_layer_utils
from cxr.lrp import innvestigate
from cxr.nets.keras_nets import load_net
from cxr.data.images import normalise

_, _, model, images, outputs, method, way, out = sys.argv
pixels, outputs = np.load(images), json.loads(outputs)
tf.compat.v1.disable_eager_execution()
base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = way == "analyze"
if way == "workflow":
    tf.keras.backend.set_learning_phase(0)
session = tf.compat.v1.Session(config=innvestigate.session_settings())
tf.compat.v1.keras.backend.set_session(session)
start = time.perf_counter()
net, _ = load_net(model)
if way == "analyze":
    analyzer = innvestigate.build_analyzer(net, method)
    explain = lambda image, output: analyzer.analyze(image, neuron_selection=[output])
else:
    explainer = innvestigate.explainer(net, method)
    explain = lambda image, output: explainer([image, np.array([[0, output]], np.int32)])[0]
maps, seconds = [], []
for image, output in zip(pixels, outputs):
    maps.append(explain(normalise(image[None]), output)[0].sum(axis=-1))
    seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
np.save(out, maps)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "peak_gib": peak}))
"""
WAYS = {"analyze": "iNNvestigate as it comes", "workflow": "iNNvestigate here"}


def main(net, images, n, architecture, keras_python, repeats):
    torch.set_num_threads(1)
    device = select_device()
    pixels, _ = open_images(images)
    pixels = np.array(pixels[:n])
    outputs = [number % 3 for number in range(n)]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        names = [f"{number}.png" for number in range(n)]
        table = pd.DataFrame({"image": names, "class": [CLASSES[number] for number in outputs]})
        save_images(folder / "images.npy", pixels, table)
        net = net or random_net(folder / "net.safetensors", architecture, pixels, device)
        model = convert(net, folder, keras_python)
        net, description = load_net(net)
        print(f"P10 {description['architecture']}, {pixels.shape[1]} pixels, {n} images, {device}")
        forward = median_seconds(lambda: predict_one_by_one(net, pixels, device), repeats) / n
        print(f"  a forward pass, one image: {forward:.3f} s")
        for method in METHODS:
            words = [SCRIPTS, model, folder / "images.npy", json.dumps(outputs), method]
            for way, name in WAYS.items():
                command = [keras_python, "-c", IN_KERAS, *words, way, folder / f"{way}.npy"]
                run = subprocess.run(command, check=True, capture_output=True, text=True)
                theirs = json.loads(run.stdout.splitlines()[-1])
                first, *others = theirs["seconds"]
                each = statistics.median(others)
                print(
                    f"  {method}, {name}: {first:.1f} s with loading to the first, then "
                    f"{each:.2f} s an image, {theirs['peak_gib']:.1f} GiB"
                )
            explain = partial(explained, net, pixels, outputs, method, device)
            ours = {size: median_seconds(partial(explain, size), repeats) / n for size in (1, n)}
            maps = np.concatenate(explain(n))
            agree = rank_correlations(np.load(folder / "workflow.npy"), maps)
            same = np.array_equal(*(np.load(folder / f"{way}.npy") for way in WAYS))
            print(
                f"  {method}, PyTorch: {ours[1]:.2f} s an image, {ours[1] / forward:.1f} forward "
                f"passes; {ours[n]:.2f} s in batches of {n}; {each / ours[1]:.1f}x; rank "
                f"correlation at least {agree.min():.5f}; both of iNNvestigate "
                f"{'equal' if same else 'NOT equal'}"
            )


def median_seconds(run, repeats):
    """The median wall time of a function, after a first run."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@torch.no_grad()
def predict_one_by_one(net, pixels, device):
    for image in pixels:
        net(network_input(torch.from_numpy(image[None]).to(device)))


def explained(net, pixels, outputs, method, device, size):
    """Maps of so many images at once, a list of arrays."""
    return [
        relevance_maps(net, pixels[at : at + size], outputs[at : at + size], [method], device)[
            method
        ][0]
        for at in range(0, len(pixels), size)
    ]


def random_net(path, architecture, pixels, device):
    torch.manual_seed(0)
    net = create(architecture, 3).to(device)
    see(net, pixels, device)
    size = pixels.shape[1]
    description = {"architecture": architecture, "outputs": list(CLASSES), "image_size": size}
    save_net(path, net, description)
    return path


def convert(net, folder, keras_python):
    source, model = folder / "source.onnx", folder / "model.h5"
    files = ["--onnx", folder / "model.onnx", "--keras-source", source]
    step = [sys.executable, SCRIPTS / "export_onnx.py", "--net", net, "--images"]
    logits = ["--logits", folder / "logits.csv"]
    subprocess.run(
        [*step, folder / "images.npy", folder / "images.csv", *files, *logits], check=True
    )
    step = [keras_python, SCRIPTS / "convert_keras.py", "--keras-source", source, "--images"]
    made = ["--model", model, "--conversion", folder / "conversion.csv"]
    subprocess.run(
        [*step, folder / "images.npy", folder / "images.csv", *logits, *made],
        check=True,
        capture_output=True,
    )
    return model


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--images", type=Path, required=True, help="image set (.npy)")
    arguments.add_argument("--n", type=int, default=6, help="of them; default: 6")
    arguments.add_argument("--net", type=Path, help=".safetensors; default: random weights")
    arguments.add_argument("--architecture", default="densenet201", help="of random weights")
    arguments.add_argument("--keras-python", type=Path, required=True)
    arguments.add_argument("--repeats", type=int, default=3, help="default: 3")
    main(**vars(arguments.parse_args()))
