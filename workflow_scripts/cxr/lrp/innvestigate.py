"""Layer-wise relevance propagation (LRP) with iNNvestigate, from an output's logit to the pixels.

Methods:
  preset_a_flat: iNNvestigate's lrp.sequential_preset_a_flat as shipped, as in the paper. Its batch
    norm rule doesn't conserve relevance, and its Flat rule never fires behind a padding layer,
    so that heatmaps of padded nets are those of preset_a.
  preset_a_flat_conserving: the same rules for Dense layers (epsilon 0.1) and convolutions (alpha 1,
    beta 0), but relevance passes through batch norm, and Flat holds for the first convolution, over
    the pixels of the image alone. Up to what biases take, relevance sums to logit^2 / (|logit| +
    0.1); 0.1 is epsilon.
  PRESETS: others of iNNvestigate's, as shipped.

Building an analyzer switches TensorFlow to graph mode for the whole process: relevance_maps does
it in a process of its own.
"""

import gc
import multiprocessing
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before the import; it says a lot
import tensorflow as tf
from innvestigate import create_analyzer
from innvestigate.analyzer.relevance_based.relevance_analyzer import LRP
from innvestigate.analyzer.relevance_based.relevance_rule import (
    Alpha1Beta0Rule,
    EpsilonRule,
    FlatRule,
)
from innvestigate.backend import gradients, safe_divide
from innvestigate.backend.graph import ReverseMappingBase
from keras.src.engine import base_layer_utils
from tensorflow import keras
from tensorflow.python.ops import gradients_util

from cxr.cli import progress
from cxr.data.images import normalise
from cxr.nets.keras_nets import load_net

PRESETS = {  # iNNvestigate's names, without `lrp.`
    "preset_a_flat": "sequential_preset_a_flat",
    "preset_a": "sequential_preset_a",
    "preset_b": "sequential_preset_b",
    "preset_b_flat": "sequential_preset_b_flat",
} | {
    name: name
    for name in ("alpha_1_beta_0", "alpha_2_beta_1", "epsilon", "flat", "w_square", "z", "z_plus")
}
METHODS = (*PRESETS, "preset_a_flat_conserving")


def relevance_maps(model, pixels, outputs, methods, threads=1):
    """Relevance of one output's logit for each image: {method: (relevance, logits)}.

    model: path of a Keras net. pixels: uint8 (n, size, size). outputs: n numbers of output neurons.
    relevance is float32 (n, size, size), summed over the three equal channels; logits float32 (n,).
    Each method has a process of its own of one thread, so that results don't depend on threads;
    so many run at a time.
    """
    # spawn: a fork of a process in which TensorFlow has started hangs.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(threads, mp_context=context, max_tasks_per_child=1) as processes:
        jobs = {
            method: processes.submit(_relevance_maps, model, pixels, outputs, method)
            for method in methods
        }
        return {method: job.result() for method, job in jobs.items()}


def _relevance_maps(model, pixels, outputs, method):
    warnings.filterwarnings("ignore", module="innvestigate|keras")
    gc.disable()  # a graph of 70,000 operations is looked through again and again, and all is kept
    tf.compat.v1.disable_eager_execution()
    keras.backend.set_learning_phase(0)  # or each batch norm has a branch for training, too
    tf.compat.v1.keras.backend.set_session(tf.compat.v1.Session(config=session_settings()))
    net, _ = load_net(model)
    explain = explainer(net, method)
    relevance = np.empty(pixels.shape, dtype=np.float32)
    logits = np.empty(len(pixels), dtype=np.float32)
    # One image at a time, so that no map depends on the others.
    for place, output in enumerate(progress(outputs, method)):
        chosen = np.array([[0, output]], dtype=np.int32)
        found, of_net = explain([normalise(pixels[place : place + 1]), chosen])
        relevance[place], logits[place] = found[0].sum(axis=-1), of_net[0, output]
    return relevance, logits


def session_settings():
    """One thread, and no optimising: for few images that takes longer than it saves."""
    settings = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=1, inter_op_parallelism_threads=1
    )
    settings.graph_options.rewrite_options.disable_meta_optimizer = True
    return settings


def explainer(net, method):
    """A function of [one image, [[0, output]]]: [its relevance, the net's logits].

    iNNvestigate's own `analyze` first makes a Keras model of the reversed graph, in which each of
    its thousands of operations is a layer; for a DenseNet that takes longer than all the rest.
    """
    analyzer = build_analyzer(net, method)
    prepared, chosen, stop_at = analyzer._prepare_model(net)
    with lean_building():
        (relevance,) = analyzer._create_analysis(prepared, stop_analysis_at_tensors=stop_at)
    return keras.backend.function([*net.inputs, *chosen], [relevance, net.output])


@contextmanager
def lean_building():
    """Keep Keras and TensorFlow from work that a reversed graph doesn't need.

    Keras makes a layer of each operation; and tf.gradients, called for each layer, looks for what
    lies between its arguments from xs forward, through the whole graph behind them.
    """
    pending_count, consumers = gradients_util._PendingCount, gradients_util._Consumers

    def pending_count_backward(to_ops, from_ops, colocate, functions, xs):
        above, left = set(), list(to_ops)
        while left:
            op = left.pop()
            if op not in above:
                above.add(op)
                if op not in from_ops:
                    left += (tensor.op for tensor in gradients_util._NonEagerInputs(op, xs))

        def consumers_above(*arguments):
            return [op for op in consumers(*arguments) if op in above]

        with patch.object(gradients_util, "_Consumers", consumers_above):
            return pending_count(to_ops, from_ops, colocate, functions, xs)

    with (
        patch.object(base_layer_utils, "needs_keras_history", lambda *_, **__: False),
        patch.object(gradients_util, "_PendingCount", pending_count_backward),
    ):
        yield


def build_analyzer(net, method):
    """iNNvestigate analyzer of a Keras net in graph mode; the output is chosen at each call."""
    if method in PRESETS:
        return create_analyzer(f"lrp.{PRESETS[method]}", net, neuron_selection_mode="index")
    if method == "preset_a_flat_conserving":
        rules = [
            (is_first_convolution, FlatOnImageRule),
            (lambda layer: isinstance(layer, keras.layers.Conv2D), Alpha1Beta0Rule),
            (lambda layer: isinstance(layer, keras.layers.Dense), Epsilon01Rule),
        ]
        return LRP(net, rule=rules, bn_layer_rule=PassRule, neuron_selection_mode="index")
    raise ValueError(f"method {method!r}; expected one of {METHODS}")


def padding_of_image(layer):
    """The padding layers between the image and a layer, in order; None if others are there too."""
    padding = []
    before = layer.input._keras_history.layer
    while isinstance(before, keras.layers.ZeroPadding2D):
        padding.insert(0, before)
        before = before.input._keras_history.layer
    return padding if isinstance(before, keras.layers.InputLayer) else None


def is_first_convolution(layer):
    """Whether a layer sees the image, through padding at most."""
    return padding_of_image(layer) is not None


class FlatOnImageRule(FlatRule):
    """Shares relevance out evenly among the pixels under the kernel; padding gets none."""

    def apply(self, inputs, _outputs, relevance, state):
        padding = padding_of_image(state["layer"])
        ones = tf.ones_like(padding[0].input if padding else inputs[0])
        for layer in padding:
            ones = layer(ones)
        shares = safe_divide(relevance[0], self._layer_wo_act_b(ones))
        return gradients(inputs, [self._layer_wo_act_b(inputs[0])], [shares])


class Epsilon01Rule(EpsilonRule):
    """The preset's rule for Dense layers."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, epsilon=0.1, bias=True, **options)


class PassRule(ReverseMappingBase):
    """Hands relevance through a layer unchanged."""

    def __init__(self, _layer, _state):
        pass

    def apply(self, _inputs, _outputs, relevance, _state):
        return relevance
