"""LRP heatmaps: iNNvestigate on the Keras net against PyTorch on the net itself; seconds an image.

P10 the same rules on the same images, one after another; building iNNvestigate's analyzer is timed
    apart, and so is the largest memory of its process. Rank correlations say whether they agree.

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
from pathlib import Path

import numpy as np
import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import open_images, save_images
from cxr.lrp.pytorch import METHODS, rank_correlations, relevance_maps
from cxr.nets.devices import select_device
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

_, _, model, images, outputs, method, out = sys.argv
pixels, outputs = np.load(images), json.loads(outputs)
tf.compat.v1.disable_eager_execution()
base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
session = tf.compat.v1.Session(config=innvestigate.session_settings())
tf.compat.v1.keras.backend.set_session(session)
net, _ = load_net(model)
start = time.perf_counter()
analyzer = innvestigate.build_analyzer(net, method)
maps, seconds = [], []
for image, output in zip(pixels, outputs):
    found = analyzer.analyze(normalise(image[None]), neuron_selection=[output])
    maps.append(found[0].sum(axis=-1))
    seconds.append(time.perf_counter() - start)
    start = time.perf_counter()
np.save(out, maps)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"seconds": seconds, "peak_gib": peak}))
"""


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
        for method in METHODS:
            arguments = [SCRIPTS, model, folder / "images.npy", json.dumps(outputs), method]
            words = [keras_python, "-c", IN_KERAS, *arguments, folder / "maps.npy"]
            run = subprocess.run(words, check=True, capture_output=True, text=True)
            theirs = json.loads(run.stdout.splitlines()[-1])
            first, *others = theirs["seconds"]
            relevance_maps(net, pixels, outputs, [method], device)  # warm
            ours = []
            for _ in range(repeats):
                start = time.perf_counter()
                maps, _ = relevance_maps(net, pixels, outputs, [method], device)[method]
                ours.append((time.perf_counter() - start) / n)
            ours, theirs_each = statistics.median(ours), statistics.median(others)
            agree = rank_correlations(np.load(folder / "maps.npy"), maps)
            print(
                f"  {method}: iNNvestigate {first:.1f} s to the first, then {theirs_each:.2f} s an "
                f"image, {theirs['peak_gib']:.1f} GiB; PyTorch {ours:.2f} s an image, "
                f"{theirs_each / ours:.1f}x; rank correlation at least {agree.min():.5f}"
            )


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
    step = [keras_python, SCRIPTS / "convert_keras.py", "--keras-source", source]
    subprocess.run([*step, "--model", model], check=True, capture_output=True)
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
