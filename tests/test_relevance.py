"""Relevance by iNNvestigate, against the rules written out, on small nets made by PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

tf = pytest.importorskip("tensorflow")

from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.lrp.heatmaps import colour_limit, draw_heatmap, save_heatmap
from cxr.lrp.innvestigate import PRESETS, relevance_maps
from cxr.nets import keras_nets
from explain import explain
from innvestigate.analyzer import analyzers
from matplotlib.figure import Figure

CHECKED = ("preset_a_flat", "preset_a_flat_conserving")
OUTPUTS = ["normal", "viral_pneumonia", "covid19"]
MAKE_NETS = """
import sys
sys.path.insert(0, sys.argv[1])
import torch
from cxr.nets.onnx_export import export_keras_source
from torchvision.models import DenseNet, ResNet
from torchvision.models.resnet import BasicBlock

torch.manual_seed(0)
tiny = {
    "densenet": DenseNet(8, (2, 2, 2, 2), 16, bn_size=2, num_classes=3),
    "resnet": ResNet(BasicBlock, [1, 1, 1, 1], num_classes=3),
}
for name, net in tiny.items():
    with torch.no_grad():
        for _ in range(3):
            net(torch.nn.functional.interpolate(torch.randn(8, 3, 9, 9), size=64))
        head = net.classifier if name == "densenet" else net.fc
        head.bias.zero_()
        head.weight[2].abs_()  # all features speak for output 2: a large logit
    outputs = ["normal", "viral_pneumonia", "covid19"]
    description = {"architecture": name, "outputs": outputs, "image_size": 64}
    export_keras_source(net.eval(), description, sys.argv[2] + f"/{name}.onnx")
"""

AS_SHIPPED = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from cxr.lrp import innvestigate
from cxr.nets.keras_nets import load_net

# Without it, Keras runs a session for each constant of the reversed graph: minutes.
innvestigate.base_layer_utils._UNSAFE_GRAPH_OP_LAYER_CREATION = True
innvestigate.tf.compat.v1.disable_eager_execution()
image = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype(np.float32)
net, _ = load_net(sys.argv[2])
analyzer = innvestigate.build_analyzer(net, sys.argv[3])
expected, logits = analyzer.analyze(image, neuron_selection=[1]), net.predict_on_batch(image)
net, _ = load_net(sys.argv[2])
found = innvestigate.explainer(net, sys.argv[3])([image, np.array([[0, 1]], np.int32)])
assert expected.any()
assert np.array_equal(found[0], expected) and np.array_equal(found[1], logits)
"""


@pytest.fixture(scope="module")
def nets(tmp_path_factory):
    """Folder with densenet.h5 and resnet.h5: tiny, random, with batch norm that has seen data."""
    if "TORCH_PYTHON" not in os.environ:
        pytest.skip("TORCH_PYTHON is not set; make test sets it")
    folder = tmp_path_factory.mktemp("nets")
    scripts = Path(__file__).parents[1] / "workflow_scripts"
    python = Path(os.environ["TORCH_PYTHON"]).absolute()
    subprocess.run([python, "-c", MAKE_NETS, scripts, folder], check=True)
    for name in ("densenet", "resnet"):
        keras_nets.convert(folder / f"{name}.onnx", folder / f"{name}.h5")
    return folder


def drawn_images(n):
    """Smooth random uint8 (n, 64, 64)."""
    coarse = np.random.default_rng(0).uniform(0, 255, (n, 8, 8, 1))
    return tf.image.resize(coarse, (64, 64), method="bilinear").numpy()[..., 0].astype(np.uint8)


@pytest.fixture(scope="module", params=["densenet", "resnet"])
def explained(request, nets):
    """(path of a net, images, explained outputs, relevance_maps of all methods)."""
    path = nets / f"{request.param}.h5"
    images, outputs = drawn_images(3)[[0, 0, 1, 2]], [0, 2, 2, 1]
    return path, images, outputs, relevance_maps(path, images, outputs, CHECKED, threads=2)


@pytest.mark.parametrize("method", CHECKED)
def test_relevance_follows_the_written_out_rules(explained, method):
    path, images, outputs, maps = explained
    net, _ = keras_nets.load_net(path)
    relevance, logits = maps[method]
    assert relevance.shape == images.shape and relevance.dtype == np.float32
    np.testing.assert_allclose(
        logits, keras_nets.keras_logits(net, images)[range(4), outputs], rtol=1e-4, atol=1e-5
    )
    for image, output, found in zip(images, outputs, relevance, strict=True):
        expected = written_out_relevance(net, image, output, method)
        difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert difference < 1e-2


def test_relevance_depends_on_the_class(explained):
    for relevance, _ in explained[3].values():
        one, other = (map_ / np.linalg.norm(map_) for map_ in relevance[:2])
        assert np.linalg.norm(one - other) > 0.1


def test_conserving_relevance_loses_to_epsilon_alone(explained):
    """Of f at a Dense layer without bias, f / (|f| + 0.1) is handed on; below, nothing is lost."""
    relevance, logits = explained[3]["preset_a_flat_conserving"]
    expected = logits * np.abs(logits) / (np.abs(logits) + 0.1)
    np.testing.assert_allclose(relevance.sum(axis=(1, 2)), expected, rtol=1e-3)


def test_relevance_as_shipped_does_not_sum_to_the_logit(explained):
    relevance, logits = explained[3]["preset_a_flat"]
    assert (np.abs(relevance.sum(axis=(1, 2)) / logits - 1)[1:3] > 1).all()


def test_other_presets_run(nets):
    assert {f"lrp.{name}" for name in PRESETS.values()} <= set(analyzers)
    maps = relevance_maps(nets / "resnet.h5", drawn_images(1), [2], ["epsilon", "z_plus"])
    one, other = (relevance.ravel() for relevance, _ in maps.values())
    assert np.isfinite(one).all() and np.isfinite(other).all()
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.99


def test_maps_are_to_the_bit_those_of_innvestigate_s_own_analyze(nets):
    scripts = Path(__file__).parents[1] / "workflow_scripts"
    command = [sys.executable, "-c", AS_SHIPPED, scripts, nets / "densenet.h5", CHECKED[0]]
    subprocess.run(command, check=True)


def test_relevance_does_not_depend_on_the_order_of_images(nets):
    images, outputs = drawn_images(3), [0, 1, 2]
    path = nets / "resnet.h5"
    forward, _ = relevance_maps(path, images, outputs, CHECKED[:1])[CHECKED[0]]
    backward, _ = relevance_maps(path, images[::-1], outputs[::-1], CHECKED[:1])[CHECKED[0]]
    np.testing.assert_array_equal(forward, backward[::-1])


def test_explain_writes_a_map_per_row_and_method(nets, tmp_path):
    rows = pd.DataFrame(
        {
            "figure": ["figure2", "figure4"],
            "image": ["a (1).png", "a (1).png"],
            "class": ["covid19", "covid19"],
            "version": ["edited", "unedited"],
            "explain": ["covid19", "normal"],
        }
    )
    save_images(tmp_path / "images.npy", drawn_images(2), rows)
    written = tmp_path / "relevance.npz", tmp_path / "heatmaps.csv", tmp_path / "pictures"
    explain(nets / "resnet.h5", tmp_path / "images.npy", *written, CHECKED, threads=2)
    table = pd.read_csv(written[1])
    assert list(table.method) == ["preset_a_flat"] * 2 + ["preset_a_flat_conserving"] * 2
    assert list(table["class"]) == ["covid19", "normal"] * 2
    assert list(table.true_class.unique()) == ["covid19"]
    relevance = np.load(written[0])
    sums = [relevance[name].sum() for name in table.relevance]
    np.testing.assert_allclose(table.relevance_sum, sums, rtol=1e-4, atol=1e-5)
    error = np.abs(table.relevance_sum - table.logit) / np.abs(table.logit)
    np.testing.assert_allclose(table.conservation_error, error, rtol=1e-4)
    assert {path.stem for path in written[2].glob("*.png")} == set(table.relevance)


def test_explain_takes_the_decision_where_no_class_is_named(nets, tmp_path):
    rows = pd.DataFrame({"image": ["a.png", "b.png"], "class": ["normal", "normal"]})
    save_images(tmp_path / "images.npy", drawn_images(2), rows)
    written = tmp_path / "relevance.npz", tmp_path / "heatmaps.csv", tmp_path / "pictures"
    explain(nets / "resnet.h5", tmp_path / "images.npy", *written, CHECKED[1:], threads=1)
    net, _ = keras_nets.load_net(nets / "resnet.h5")
    decided = keras_nets.keras_logits(net, drawn_images(2)).argmax(axis=1)
    assert list(pd.read_csv(written[1])["class"]) == [OUTPUTS[n] for n in decided]


def test_explain_refuses_a_class_the_net_does_not_have(nets, tmp_path):
    rows = pd.DataFrame({"image": ["a.png"], "class": ["normal"], "explain": ["healthy"]})
    save_images(tmp_path / "images.npy", drawn_images(1), rows)
    with pytest.raises(InputError, match="explain 'healthy'; the net has the outputs"):
        explain(
            nets / "resnet.h5",
            tmp_path / "images.npy",
            tmp_path / "r.npz",
            tmp_path / "t.csv",
            tmp_path,
            [],
            1,
        )
    assert not (tmp_path / "t.csv").exists()


def test_heatmap_is_red_for_and_blue_against_and_clear_where_nothing_speaks(tmp_path):
    relevance = np.zeros((8, 8), np.float32)
    relevance[0, 0], relevance[7, 7], relevance[0, 7] = 2, -2, 100
    axes = Figure().subplots()
    draw_heatmap(axes, relevance, np.full((8, 8), 128, np.uint8), limit=2)
    colours = np.asarray(axes.images[-1].get_array())
    np.testing.assert_allclose(colours[0, 0], [1, 0, 0, 1])
    np.testing.assert_allclose(colours[7, 7], [0, 0, 1, 1])
    np.testing.assert_allclose(colours[0, 7], [1, 0, 0, 1])
    assert colours[4, 4, 3] == 0
    assert colour_limit(np.zeros((8, 8))) == 1
    save_heatmap(tmp_path / "heatmap.png", relevance, np.full((8, 8), 128, np.uint8))
    assert (tmp_path / "heatmap.png").stat().st_size


def written_out_relevance(net, image, output, method):
    """Relevance of image uint8 (s, s), layer by layer in float64: (s, s).

    The rules of preset A as in iNNvestigate's source: its batch norm rule as shipped, or relevance
    passed through and Flat at the first convolution.
    """
    conserving = method == "preset_a_flat_conserving"
    values = {net.input.name: tf.constant(keras_nets.normalise(image[None]), tf.float64)}
    for layer in net.layers[1:]:
        values[layer.output.name] = forward(layer, inputs_of(layer, values))
    logits = values[net.output.name]
    relevance = {name: tf.zeros_like(value) for name, value in values.items()}
    relevance[net.output.name] = logits * tf.one_hot([output], logits.shape[1], dtype=tf.float64)
    convolutions = [x for x in net.layers if isinstance(x, tf.keras.layers.Conv2D)]
    for layer in reversed(net.layers[1:]):
        inputs, upper = inputs_of(layer, values), relevance[layer.output.name]
        kind = type(layer).__name__
        if kind == "Activation" or (kind == "BatchNormalization" and conserving):
            lower = [upper]
        elif kind == "BatchNormalization":
            lower = [shipped_batch_norm(layer, inputs[0], upper)]
        elif kind == "Conv2D" and layer is convolutions[0] and conserving:
            lower = [flat(layer, inputs[0], upper)]
        elif kind == "Conv2D":
            lower = [alpha1_beta0(layer, inputs[0], upper)]
        elif kind == "Dense":
            lower = pull(lambda x, at=layer: forward(at, [x]), inputs, upper, epsilon=0.1)
        elif kind in ("Add", "AveragePooling2D"):
            lower = pull(lambda *x, at=layer: forward(at, x), inputs, upper)
        else:  # by gradient: MaxPooling2D, ZeroPadding2D, Concatenate, Flatten
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                outcome = forward(layer, inputs)
            lower = tape.gradient(outcome, inputs, upper)
        for name, share in zip(names_of(layer), lower, strict=True):
            relevance[name] += share
    return relevance[net.input.name].numpy()[0].sum(axis=-1)


def names_of(layer):
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tensor.name for tensor in inputs]


def inputs_of(layer, values):
    return [values[name] for name in names_of(layer)]


def weights_of(layer):
    return [tf.cast(weight, tf.float64) for weight in layer.weights]


def convolve(layer, x, kernel):
    return tf.nn.conv2d(x, kernel, layer.strides, "VALID")


def forward(layer, inputs):
    """A layer's output in float64."""
    kind, (x, *_) = type(layer).__name__, inputs
    if kind == "Conv2D":
        return convolve(layer, x, weights_of(layer)[0])
    if kind == "Dense":
        kernel, bias = weights_of(layer)
        return x @ kernel + bias
    if kind == "BatchNormalization":
        gamma, beta, mean, variance = weights_of(layer)
        return (x - mean) / tf.sqrt(variance + layer.epsilon) * gamma + beta
    if kind == "Activation":
        return tf.nn.relu(x)
    if kind == "ZeroPadding2D":
        return tf.pad(x, [(0, 0), *layer.padding, (0, 0)])
    if kind == "MaxPooling2D":
        return tf.nn.max_pool2d(x, layer.pool_size, layer.strides, "VALID")
    if kind == "AveragePooling2D":
        return tf.nn.avg_pool2d(x, layer.pool_size, layer.strides, "VALID")
    if kind == "Concatenate":
        return tf.concat(inputs, 3)
    if kind == "Add":
        return tf.add_n(list(inputs))
    if kind == "Flatten":
        return tf.reshape(x, (1, -1))
    raise ValueError(f"{layer.name}: no forward of {kind} written out")


def pull(function, inputs, upper, epsilon=0.0):
    """Share upper out over inputs in proportion to what each adds to the outcome."""
    inputs = list(inputs)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outcome = function(*inputs)
    stable = outcome + epsilon * tf.where(outcome >= 0, 1.0, tf.constant(-1.0, tf.float64))
    gradients = tape.gradient(outcome, inputs, tf.math.divide_no_nan(upper, stable))
    return [x * gradient for x, gradient in zip(inputs, gradients, strict=True)]


def flat(layer, padded, upper):
    """Equal shares for all pixels under the kernel: 3 are added on each side of the image."""
    inside = tf.pad(tf.ones((1, 64, 64, 3), tf.float64), [(0, 0), (3, 3), (3, 3), (0, 0)])
    assert inside.shape == padded.shape
    ones = tf.ones_like(layer.kernel, dtype=tf.float64)
    return pull(lambda x: convolve(layer, x, ones), [inside], upper)[0]


def alpha1_beta0(layer, x, upper):
    """Positive contributions alone share: positive times positive, negative times negative."""
    kernel = weights_of(layer)[0]
    shares = pull(
        lambda positive, negative: (
            convolve(layer, positive, tf.maximum(kernel, 0))
            + convolve(layer, negative, tf.minimum(kernel, 0))
        ),
        [tf.maximum(x, 0), tf.minimum(x, 0)],
        upper,
    )
    return tf.add_n(shares)


def shipped_batch_norm(layer, x, upper):
    """AlphaBetaX2m100 on k x + b, with iNNvestigate's variance squared and its b without gamma."""
    gamma, beta, mean, variance = weights_of(layer)
    deviation = tf.sqrt(variance**2 + layer.epsilon)
    scale, shift = gamma / deviation, beta - mean / deviation
    shares = []
    for part in (tf.maximum, tf.minimum):
        weight, bias = part(scale, 0), part(shift, 0)
        shares += pull(
            lambda x, weight=weight, bias=bias: x * weight + bias, [tf.maximum(x, 0)], upper
        )
    return 2 * shares[0] - shares[1]
