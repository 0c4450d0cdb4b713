"""PyTorch -> ONNX: the net for its users, and a form of it that onnx2keras can convert.

The Keras side is in keras_conversion.py; the two sides live in different environments.
"""

import io
import json
import warnings

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from cxr.cli import InputError, progress
from cxr.files import write_file
from cxr.nets.torch_nets import normalise, output_layer
from cxr.nets.torchvision_models import models

INPUT, OUTPUT = "pixels_normalised", "logits"
STRIDE = 32  # pixels of the image to one of the last feature map, in every supported net


def check_convertible(net, description, path):
    """Raise InputError unless net is one whose Keras form and relevance are known to be right."""
    grouped = any(layer.groups > 1 for layer in net.modules() if isinstance(layer, nn.Conv2d))
    if grouped or not isinstance(net, models.DenseNet | models.ResNet | models.SqueezeNet):
        raise InputError(
            f"{path}: {description['architecture']} can't be converted to Keras; supported are "
            "DenseNets, ResNets (with ungrouped convolutions) and SqueezeNets"
        )
    if description["image_size"] % STRIDE:
        raise InputError(
            f"{path}: image_size {description['image_size']} is not a multiple of {STRIDE}"
        )


def feature_map(net, pixels):
    """What the global average pooling sees, float32 (n, channels, h, w)."""
    if isinstance(net, models.DenseNet):
        return torch.relu(net.features(pixels))
    if isinstance(net, models.SqueezeNet):  # its output layer is a convolution before the pooling
        return net.classifier[:3](net.features(pixels))
    pixels = net.maxpool(net.relu(net.bn1(net.conv1(pixels))))
    return net.layer4(net.layer3(net.layer2(net.layer1(pixels))))


class KerasSource(nn.Module):
    """The net with layers that onnx2keras converts without Lambda layers.

    Global pooling becomes AvgPool2d and the Linear layer a 1x1 convolution; forward returns
    logits as (n, outputs, 1, 1). convert_keras makes the convolution a Dense layer again.
    """

    def __init__(self, net, size):
        super().__init__()
        self.net = net
        shape = feature_map(net, torch.zeros(1, 3, size, size)).shape
        self.pool = nn.AvgPool2d(shape[2:])
        self.head = nn.Identity()
        if not isinstance(net, models.SqueezeNet):
            linear = output_layer(net)
            self.head = nn.Conv2d(linear.in_features, linear.out_features, kernel_size=1)
            self.head.weight = nn.Parameter(linear.weight[:, :, None, None])
            self.head.bias = linear.bias

    def forward(self, pixels):
        return self.head(self.pool(feature_map(self.net, pixels)))


def export(net, description, path):
    """Write the net as ONNX for its users: pixels_normalised (batch, 3, size, size) -> logits."""
    model = to_onnx(
        net, description, opset_version=17, dynamic_axes={INPUT: {0: "n"}, OUTPUT: {0: "n"}}
    )
    onnx.checker.check_model(model, full_check=True)
    write_file(path, model.SerializeToString(deterministic=True))


@torch.no_grad()
def export_keras_source(net, description, path):
    """Write the form of the net that convert_keras takes, as ONNX for one image."""
    source = KerasSource(net, description["image_size"]).eval()
    # PRESERVE and no folding: folded into convolutions, batch norm leaves them a bias, and
    # alpha1-beta0 relevance is no longer conserved.
    model = to_onnx(
        source,
        description,
        opset_version=11,
        training=torch.onnx.TrainingMode.PRESERVE,
        do_constant_folding=False,
    )
    for node in model.graph.node:
        if node.op_type == "MaxPool":
            pad_instead_of_ceil(node)
    rename_tensors(model.graph)
    onnx.checker.check_model(model)
    write_file(path, model.SerializeToString(deterministic=True))


def to_onnx(net, description, **options):
    """ONNX model of a net in eval mode, with its description as metadata `net`."""
    size = description["image_size"]
    written = io.BytesIO()
    with warnings.catch_warnings():
        # The legacy exporter is deprecated, but the new one folds batch norm.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net,
            (torch.zeros(1, 3, size, size),),
            written,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamo=False,
            **options,
        )
    model = onnx.load_from_string(written.getvalue())
    model.metadata_props.add(key="net", value=json.dumps(description, sort_keys=True))
    return model


def pad_instead_of_ceil(pool):
    """Give a max pooling in ceil mode, which onnx2keras overlooks, padding at its end instead.

    Same values for stride 2 after a ReLU: a padded zero is never the maximum alone.
    """
    attributes = {attribute.name: attribute for attribute in pool.attribute}
    if "ceil_mode" in attributes and attributes["ceil_mode"].i:
        attributes["ceil_mode"].i = 0
        attributes["pads"].ints[:] = [0, 0, 1, 1]


def rename_tensors(graph):
    """Name tensors as Keras layers may be called: "/a/b/Conv_output_0" -> "a.b.Conv"."""
    names = {
        output: output.strip("/").replace("/", ".").removesuffix("_output_0")
        for node in graph.node
        for output in node.output
    }
    if len(set(names.values())) < len(names):
        raise ValueError("two tensors of the ONNX graph would have the same name in Keras")
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] for name in node.output]


@torch.no_grad()
def torch_logits(net, pixels, batch_size=16):
    """Logits of uint8 (n, size, size) in PyTorch on the CPU: float32 (n, outputs)."""
    batches = [net(batch).numpy() for batch in normalised_batches(pixels, batch_size, "torch")]
    return np.concatenate(batches)


def onnxruntime_logits(path, pixels, threads, batch_size=16):
    """Logits of uint8 (n, size, size) by ONNX Runtime on the CPU: float32 (n, outputs)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    batches = [
        session.run([OUTPUT], {INPUT: batch.numpy()})[0]
        for batch in normalised_batches(pixels, batch_size, "onnxruntime")
    ]
    return np.concatenate(batches)


def normalised_batches(pixels, batch_size, what):
    """Batches of uint8 (n, size, size) as float32 (batch, 3, size, size)."""
    for start in progress(range(0, len(pixels), batch_size), what):
        yield normalise(torch.from_numpy(np.array(pixels[start : start + batch_size])))
