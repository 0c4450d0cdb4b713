"""ONNX -> Keras, channels last and without Lambda layers, as iNNvestigate needs it.

A Keras net is stored as HDF5 in Keras' own format; its attribute `net` holds the description
(architecture, outputs in order, image_size) as JSON. (.keras files hold the time they were
written, .h5 files don't.)
"""

import json
import logging
import os
import warnings

import h5py
import numpy as np
import onnx

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the import; it says a lot
import tensorflow as tf
from onnx2keras import onnx_to_keras
from tensorflow import keras

from cxr.cli import InputError, progress
from cxr.data.images import normalise
from cxr.files import atomic_write

# Whatever ~/.keras/keras.json says.
keras.backend.set_image_data_format("channels_last")
keras.backend.set_floatx("float32")
keras.backend.set_epsilon(1e-7)
for name in ("onnx2keras:maxpool", "onnx2keras:avgpool", "tensorflow"):
    logging.getLogger(name).setLevel(logging.ERROR)


def use_threads(threads):
    """Compute on so many threads, the same bits every time. Before anything is computed."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.config.experimental.enable_op_determinism()


def convert(source, path):
    """Write the Keras net of an ONNX file that export_onnx wrote as --keras-source.

    It takes float32 (n, size, size, 3) and returns logits float32 (n, outputs). The file appears
    whole or not at all. Raises InputError if source is no such file, or iNNvestigate can't explain
    what becomes of it.
    """
    model = onnx.load(source)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if "net" not in metadata or model.opset_import[0].version != 11:
        raise InputError(f"{source}: not a --keras-source written by export_onnx")
    architecture = json.loads(metadata["net"])["architecture"]
    net = onnx_to_keras(model, [model.graph.input[0].name], verbose=False)
    if lambdas := [layer.name for layer in net.layers if isinstance(layer, keras.layers.Lambda)]:
        raise InputError(
            f"{source}: {architecture} becomes {len(lambdas)} Lambda layers in Keras, first "
            f"{lambdas[0]}; iNNvestigate supports none"
        )
    net = with_dense_head(net)
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*HDF5")
        net.save(temporary, save_format="h5", include_optimizer=False)
        with h5py.File(temporary, "a") as file:
            config = json.loads(file.attrs["model_config"])
            file.attrs["model_config"] = json.dumps(channels_last(config))
            file.attrs["net"] = metadata["net"]


def with_dense_head(net):
    """Flatten the (n, 1, 1, channels) before the 1x1 convolution of the logits, and make it Dense.

    Relevance goes by other rules through Dense layers than through convolutions. A net that ends
    in pooling (SqueezeNet) is flattened alone.
    """
    head = net.layers[-1]
    if not isinstance(head, keras.layers.Conv2D):
        return keras.Model(net.input, keras.layers.Flatten(name="flatten")(net.output))
    kernel, bias = head.get_weights()
    dense = keras.layers.Dense(kernel.shape[-1], name="logits")
    logits = dense(keras.layers.Flatten(name="flatten")(head.input))
    dense.set_weights([kernel[0, 0], bias])
    return keras.Model(net.input, logits)


def channels_last(config):
    """The configuration of a stored net for (n, h, w, channels); its weights are the same.

    onnx2keras' own change_ordering fails on lists of axes. Changed in the file: to build the net
    from its configuration once more takes as long as onnx2keras does.
    """
    for layer in config["config"]["layers"]:
        settings = layer["config"]
        if "batch_input_shape" in settings:
            n, channels, height, width = settings["batch_input_shape"]
            settings["batch_input_shape"] = (n, height, width, channels)
        if "data_format" in settings:
            settings["data_format"] = "channels_last"
        if layer["class_name"] in ("BatchNormalization", "Concatenate"):
            settings["axis"] = 3
    return config


def read_description(path):
    """The description stored with a Keras net. Raises InputError if there is none."""
    if not h5py.is_hdf5(path):
        raise InputError(f"{path}: not an HDF5 file; expected one written by convert_keras")
    with h5py.File(path) as file:
        if "net" not in file.attrs:
            raise InputError(f"{path}: no attribute `net`; not written by convert_keras")
        return json.loads(file.attrs["net"])


def load_net(path):
    """Load a stored net: (Keras net, description). Raises InputError if it is no such file."""
    description = read_description(path)
    return keras.models.load_model(path, compile=False), description


def keras_logits(net, pixels, batch_size=16):
    """Logits of uint8 (n, size, size): float32 (n, outputs)."""
    # Called, not by predict_on_batch: that first traces the net, for longer than it then computes.
    batches = [
        net(normalise(np.array(pixels[start : start + batch_size])), training=False).numpy()
        for start in progress(range(0, len(pixels), batch_size), "keras")
    ]
    return np.concatenate(batches)
