"""Relevance by PyTorch, against the rules written out in NumPy, zennit, and what must hold."""

from contextlib import nullcontext

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from check_heatmaps import check_heatmaps
from cxr.cli import InputError
from cxr.comparison import _without_times
from cxr.data.image_sets import open_by_class, open_images, save_images
from cxr.lrp import pytorch
from cxr.lrp.methods import IN_INNVESTIGATE
from cxr.lrp.pytorch import (
    METHODS,
    Convolution,
    Explainer,
    ShippedBatchNorm,
    parts_by_sign,
    relevance_maps,
)
from cxr.nets.descriptions import NetError
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import check_differentiable, drop_idle_pooling, load_net
from explain_test_set import explain_test_set
from randomise_weights import randomise_weights
from scipy.stats import spearmanr
from small_trainings import CLASSES, CPU, draw_images, new_net, save_start
from torch import nn
from torchvision.models import DenseNet
from zennit.attribution import Gradient
from zennit.composites import EpsilonPlusFlat

SIZE = 64


@pytest.fixture(scope="module")
def densenet():
    return tiny_densenet(3, 4)


def tiny_densenet(growth, width, seed=0):
    """In float64, with batch norm that has seen data and a bias in the last layer alone."""
    torch.manual_seed(seed)
    net = DenseNet(growth, (2, 1), width, bn_size=2, num_classes=3).double()
    with torch.no_grad():
        for _ in range(3):
            net(smooth_images(8))
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
        net.classifier.bias.fill_(0.3)
    return net.eval()


def smooth_images(n, size=SIZE):
    coarse = torch.randn(n, 3, 9, 9, dtype=torch.float64)
    return nn.functional.interpolate(coarse, size=size, mode="bilinear")


@pytest.mark.parametrize("method", pytorch.METHODS[:2])
def test_densenet_by_hand(densenet, method):
    images, outputs = smooth_images(2), torch.tensor([0, 2])
    found, logits = Explainer(densenet, method)(images, outputs)
    assert torch.equal(logits, densenet(images)[[0, 1], outputs])
    for image, output, relevance in zip(images.numpy(), outputs, found.numpy(), strict=True):
        expected = ByHand(densenet, method).relevance(image, int(output)).sum(axis=0)
        np.testing.assert_allclose(relevance, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", pytorch.METHODS[:2])
def test_squeezenet_by_hand(method):
    """Without padding and batch norm, its methods are the same: Flat at the first convolution."""
    net = new_net("squeezenet1_1").double().eval()
    with torch.no_grad():
        net.classifier[1].bias.fill_(0.3)
    images, outputs = smooth_images(2, 32), torch.tensor([0, 2])
    found, logits = Explainer(net, method)(images, outputs)
    assert (logits != 0).all()
    for image, output, relevance in zip(images.numpy(), outputs, found.numpy(), strict=True):
        expected = squeezenet_relevance(net, image, int(output)).sum(axis=0)
        np.testing.assert_allclose(relevance, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", pytorch.METHODS)
def test_several_outputs_at_once_are_those_of_each_alone(densenet, method):
    """To the bit, also where a layer is called twice."""
    torch.manual_seed(0)
    layer = nn.Conv2d(3, 3, 3, padding=1).double()
    twice = nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.AvgPool2d(SIZE), nn.Flatten())
    outputs = torch.tensor([[0, 1, 2], [2, 0, 0]])
    images = smooth_images(2)
    for net in (densenet, twice.eval()):
        maps, logits = Explainer(net, method)(images, outputs)
        for number, column in enumerate(outputs.unbind(1)):
            alone, logits_alone = Explainer(net, method)(images, column)
            assert alone.any() and torch.equal(maps[:, number], alone)
            assert torch.equal(logits[:, number], logits_alone)


def test_padding_in_one_direction_makes_no_input_layer():
    """iNNvestigate sees a padding layer before such a convolution."""
    layer = nn.Conv2d(3, 4, 3, padding=(0, 1))
    net = nn.Sequential(layer, nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    image, output = smooth_images(1, 8), torch.tensor([0])
    maps = [Explainer(net, method)(image, output)[0] for method in pytorch.METHODS[:2]]
    assert not torch.allclose(*maps)


@pytest.mark.parametrize("size", [32, 224])
def test_vgg_s_idle_pooling_is_left_out(size):
    """On a GPU it has no deterministic backward pass; at other sizes such a net is refused."""

    class SmallVGG(nn.Module):
        def __init__(self):
            super().__init__()
            self.features = nn.Sequential(
                nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(32)
            )
            self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
            self.classifier = nn.Linear(4 * 7 * 7, 3)

        def forward(self, x):
            return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))

    torch.manual_seed(0)
    net = SmallVGG().eval()
    drop_idle_pooling(net, size)
    images, outputs = smooth_images(1, size).float(), torch.tensor([1])
    assert isinstance(net.avgpool, nn.Identity) == (size == 224)
    maps, _ = Explainer(net)(images, outputs)
    with nullcontext() if size == 224 else pytest.raises(NetError, match="avgpool has no determ"):
        check_differentiable(net, torch.device("cuda"))
    check_differentiable(net, CPU)
    logits = net(images)
    net.avgpool = nn.AdaptiveAvgPool2d((7, 7))
    assert torch.equal(net(images), logits)
    torch.testing.assert_close(Explainer(net)(images, outputs)[0], maps)


def test_rank_correlations_of_zeros():
    """Two maps that are all zero agree; one that is, and one that isn't, do not."""
    some = np.random.default_rng(0).normal(size=(28, 28))
    edge = np.zeros((28, 28))
    edge[0] = 1  # within the border that is left out
    zero, flat = np.zeros((28, 28)), np.ones((28, 28))
    found = pytorch.rank_correlations(
        np.array([some, zero, zero, some, flat, edge]),
        np.array([some, zero, some, zero, flat, zero]),
    )
    np.testing.assert_allclose(found, [1, 1, np.nan, np.nan, np.nan, 1])


def test_relevance_is_conserved_layer_by_layer():
    """Below the last layer nothing is lost: at each node that all of the flow goes through.

    Of a net so wide that positive z_ij are everywhere: where there are none, relevance ends.
    """

    class Recording(Explainer):
        values = {}  # noqa: RUF012

        def run_node(self, node):
            self.values[node.name] = super().run_node(node)
            return self.values[node.name]

    explainer = Recording(tiny_densenet(16, 32))
    images, output = smooth_images(1).requires_grad_(), torch.tensor([1])
    logit = explainer.run(images).gather(1, output[:, None])
    names = [
        "features_conv0", "features_norm0", "features_relu0", "features_pool0", "cat_2",
        "features_transition1_norm", "features_transition1_relu", "features_transition1_conv",
        "features_transition1_pool", "features_norm5", "relu", "adaptive_avg_pool2d", "flatten",
    ]  # fmt: skip
    values = [images, *(explainer.values[name] for name in names)]
    sums = [float(r.sum()) for r in torch.autograd.grad(logit, values, logit.detach())]
    z = logit.item()
    assert sums[-1] == pytest.approx(z * (z - 0.3) / (z + np.copysign(0.1, z)), rel=1e-9)
    assert sums == pytest.approx([sums[-1]] * len(sums), rel=1e-9)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_of_mixed_signs_by_hand(stride, bias):
    torch.manual_seed(1)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 1, bias=False), nn.Conv2d(3, 4, 3, stride, 1, bias=bias),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).double()  # fmt: skip
    image = torch.randn(1, 2, 6, 6, dtype=torch.float64)
    found, _ = Explainer(net)(image, torch.tensor([1]))
    with torch.no_grad():
        x = net[0](image)[0].numpy()
        y = net[1](net[0](image))[0].numpy()
    start = np.zeros_like(y)
    start[1] = y[1] / y[1].size
    middle = convolution(x, net[1], start, positive_share)
    expected = convolution(image[0].numpy(), net[0], middle, flat_share)
    np.testing.assert_allclose(found[0], expected.sum(axis=0), rtol=1e-9, atol=1e-12)


def test_a_sum_shares_in_proportion():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.BatchNorm2d(2)

        def forward(self, x):
            y = self.scale(x)
            y += x
            return torch.flatten(nn.functional.adaptive_avg_pool2d(y, 1), 1)

    net = Residual().double()
    net.scale.weight.data.fill_(3.0)
    net.scale.eps = 0.0
    image = torch.rand(1, 2, 3, 3, dtype=torch.float64)
    found, logits = Explainer(net)(image, torch.tensor([0]))
    np.testing.assert_allclose(found[0], image[0, 0] * 4 / 9)
    assert found.sum() == pytest.approx(logits.item())


def test_zennit_agrees():
    """On a net of modules, the only kind that zennit sees whole; its rules are the same."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2),
        nn.Conv2d(16, 8, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 3),
    ).double()  # fmt: skip
    images, outputs = smooth_images(4), torch.tensor([0, 1, 2, 2])
    net(images)
    found, logits = Explainer(net)(images, outputs)
    with Gradient(net.eval(), EpsilonPlusFlat(epsilon=0.1)) as attributor:
        start = nn.functional.one_hot(outputs, 3) * logits[:, None]
        _, expected = attributor(images, start)
    np.testing.assert_allclose(found, expected.sum(1), rtol=1e-4, atol=1e-9)


def test_a_flipped_image_and_net_give_the_flipped_map():
    """Of odd width, so that strides meet the same pixels from both sides."""
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(3, 8, 7, 2, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(8, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(4, 3),
    ]  # fmt: skip
    net = nn.Sequential(*layers).double()
    images, outputs = smooth_images(2, 65), torch.tensor([0, 1])
    one, _ = Explainer(net)(images, outputs)
    with torch.no_grad():
        for layer in (net[0], net[4]):
            layer.weight.copy_(layer.weight.flip(-1))
    other, _ = Explainer(net)(images.flip(-1), outputs)
    torch.testing.assert_close(other, one.flip(-1))


def test_maps_do_not_depend_on_the_batch(densenet):
    images, outputs = smooth_images(5), torch.tensor([0, 1, 2, 0, 1])
    explainer = Explainer(densenet)
    together, _ = explainer(images, outputs)
    alone = [explainer(images[n : n + 1], outputs[n : n + 1])[0] for n in range(5)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_another_class_has_another_map(densenet):
    images = smooth_images(1).expand(3, -1, -1, -1)
    maps, _ = Explainer(densenet)(images, torch.arange(3))
    assert max(abs(spearmanr(maps[0].ravel(), maps[k].ravel())[0]) for k in (1, 2)) < 0.9


@pytest.mark.parametrize(
    ("layer", "what"),
    [
        (nn.SiLU(), "layer 0, SiLU"),
        (nn.Conv2d(3, 3, 3, padding="same"), "padded with zeros"),
        (nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), "padded with zeros"),
        ("gelu", "function gelu"),
        ("view", "method view"),
        ("branch", "has no fixed graph"),
    ],
)
def test_an_operation_without_rule_is_an_error(layer, what):
    class Functional(nn.Module):
        def forward(self, x):
            if layer == "view":
                return x.view(1, -1)
            if layer == "branch" and x.sum() > 0:
                return x
            return nn.functional.gelu(x)

    net = Functional() if isinstance(layer, str) else nn.Sequential(layer, nn.Flatten())
    with pytest.raises(NetError, match=what):
        Explainer(net)(torch.rand(1, 3, 8, 8), torch.tensor([0]))


def test_flattening_by_method_is_flattening():
    class ByMethod(nn.Module):
        def forward(self, x):
            return x.flatten(start_dim=1)

    image, layers = torch.rand(1, 3, 8, 8), [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Linear(144, 2)]
    maps = [
        Explainer(nn.Sequential(*layers[:2], flatten, layers[2]))(image, torch.tensor([1]))[0]
        for flatten in (nn.Flatten(), ByMethod())
    ]
    assert maps[0].any() and torch.equal(*maps)


@pytest.mark.parametrize("name", ["relu", "adaptive_avg_pool2d"])
def test_functional_calls_of_torchvision_are_seen(densenet, monkeypatch, name):
    monkeypatch.delitem(pytorch.RULES, getattr(nn.functional, name))
    with pytest.raises(NetError, match=f"function {name}: no LRP rule is known"):
        Explainer(densenet)(smooth_images(1), torch.tensor([0]))


def test_a_net_of_other_weights_has_an_unrelated_map():
    images, outputs = smooth_images(12), torch.arange(12) % 3
    maps = [Explainer(tiny_densenet(16, 32, seed))(images, outputs)[0] for seed in (0, 1)]
    inside = np.s_[8:-8, 8:-8]
    correlations = [
        spearmanr(a[inside].ravel(), b[inside].ravel())[0] for a, b in zip(*maps, strict=True)
    ]
    assert np.median(np.abs(correlations)) < 0.3


def test_maps_of_an_image_set(tmp_path):
    path = draw_images(tmp_path, 19)
    net, outputs = new_net("resnet18"), np.arange(19) % 3
    method = "preset_a_flat_conserving"
    found = relevance_maps(net, open_images(path)[0], outputs, [method], CPU)
    maps, logits = found[method]
    assert maps.shape == (19, 32, 32) and maps.dtype == np.float32
    expected = predict_logits(net, open_by_class(path, CLASSES), CPU)
    np.testing.assert_allclose(logits, expected[np.arange(19), outputs], rtol=1e-4, atol=1e-6)


# The rules, written out


def positive_share(patch, kernel, inside):
    return np.maximum(patch * kernel, 0)


def flat_share(patch, kernel, inside):
    return inside.astype(float)


def convolution(x, layer, relevance, share):
    """Relevance of a convolution's inputs x (channels, h, w), one output at a time."""
    kernel, pad, stride = layer.weight.detach().numpy(), layer.padding[0], layer.stride[0]
    size = kernel.shape[-1]
    border = ((0, 0), (pad, pad), (pad, pad))
    padded, inside = np.pad(x, border), np.pad(np.ones_like(x), border)
    found = np.zeros_like(padded)
    bias = np.zeros(len(kernel)) if layer.bias is None else layer.bias.detach().numpy()
    for o, i, j in np.ndindex(relevance.shape):
        here = np.s_[:, i * stride : i * stride + size, j * stride : j * stride + size]
        z = share(padded[here], kernel[o], inside[here])
        total = z.sum() + (bias[o] if share is positive_share else 0)
        if total != 0:
            found[here] += z / total * relevance[o, i, j]
    return found[:, pad : pad + x.shape[1], pad : pad + x.shape[2]]


def squeezenet_relevance(net, image, output):
    """Relevance of an image (3, h, w) by a SqueezeNet, forward and back in NumPy."""
    back = []  # functions from a layer's relevance to its inputs', in order

    def convolve(x, layer):
        share = flat_share if x is image else positive_share
        back.append(lambda r: convolution(x, layer, r, share))
        with torch.no_grad():
            return layer(torch.from_numpy(x)[None])[0].numpy().clip(min=0)

    def max_pool(x):
        n = (x.shape[1] - 2) // 2 + 1  # a last window may be cut: ceil_mode
        out, winners = np.zeros((len(x), n, n)), {}
        for c, i, j in np.ndindex(out.shape):
            window = x[c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
            row, column = np.unravel_index(window.argmax(), window.shape)
            winners[c, i, j] = c, 2 * i + row, 2 * j + column
            out[c, i, j] = window.max()

        def unpool(r):
            found = np.zeros_like(x)
            for place, winner in winners.items():
                found[winner] += r[place]
            return found

        back.append(unpool)
        return out

    def fire(x, layer):
        squeezed = convolve(x, layer.squeeze)
        ones, threes = convolve(squeezed, layer.expand1x1), convolve(squeezed, layer.expand3x3)
        from_threes, from_ones = back.pop(), back.pop()
        back.append(lambda r: from_ones(r[: len(ones)]) + from_threes(r[len(ones) :]))
        return np.concatenate([ones, threes])

    x = image
    for layer in [*net.features, net.classifier[1]]:
        if isinstance(layer, nn.Conv2d):
            x = convolve(x, layer)
        elif isinstance(layer, nn.MaxPool2d):
            x = max_pool(x)
        elif not isinstance(layer, nn.ReLU):  # convolve's own
            x = fire(x, layer)
    r = np.zeros_like(x)
    r[output] = x[output] / x[output].size  # of the mean, in proportion
    for function in reversed(back):
        r = function(r)
    return r


class ByHand:
    """A torchvision DenseNet without drop-out, forward and back in NumPy."""

    def __init__(self, net, method):
        self.net, self.conserving = net, method == "preset_a_flat_conserving"

    def relevance(self, image, output):
        features = self.net.features
        back = []  # functions from a layer's relevance to its inputs', in order

        def convolve(x, layer):
            share = flat_share if self.conserving and x is image else positive_share
            back.append(lambda r: convolution(x, layer, r, share))
            with torch.no_grad():
                return layer(torch.from_numpy(x)[None])[0].numpy()

        def normalise(x, layer):
            gamma, beta, mean, variance = (
                values.detach().numpy()[:, None, None]
                for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var)
            )

            def shipped(r):
                k = gamma / np.sqrt(variance**2 + layer.eps)
                b = beta - mean / np.sqrt(variance**2 + layer.eps)
                x_up, total = np.maximum(x, 0), np.zeros_like(x)
                for weight, part in ((2, np.maximum), (-1, np.minimum)):
                    z = x_up * part(k, 0) + part(b, 0)
                    share = np.divide(x_up * part(k, 0), z, out=np.zeros_like(z), where=z != 0)
                    total += weight * share * r
                return total

            back.append((lambda r: r) if self.conserving else shipped)
            return (x - mean) / np.sqrt(variance + layer.eps) * gamma + beta

        def max_pool(x):
            channels, height, width = x.shape
            padded = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
            out = np.zeros((channels, height // 2, width // 2))
            winners = {}
            for c, i, j in np.ndindex(out.shape):
                window = padded[c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                up, left = np.unravel_index(window.argmax(), (3, 3))
                winners[c, i, j] = c, 2 * i + up - 1, 2 * j + left - 1
                out[c, i, j] = window.max()

            def unpool(r):
                found = np.zeros_like(x)
                for place, winner in winners.items():
                    found[winner] += r[place]
                return found

            back.append(unpool)
            return out

        def average_pool(x, size):
            channels, height, width = x.shape
            blocks = x.reshape(channels, height // size, size, width // size, size)
            sums = blocks.sum(axis=(2, 4), keepdims=True)

            def unpool(r):
                shares = np.divide(blocks, sums, out=np.zeros_like(blocks), where=sums != 0)
                return (shares * r[:, :, None, :, None]).reshape(x.shape)

            back.append(unpool)
            return blocks.mean(axis=(2, 4))

        def dense_layer(x, layer):
            """Its outputs come after its inputs; relevance of x adds up."""
            n_before = len(back)
            h = convolve(np.maximum(normalise(x, layer.norm1), 0), layer.conv1)
            h = convolve(np.maximum(normalise(h, layer.norm2), 0), layer.conv2)
            inner = [back.pop() for _ in range(len(back) - n_before)]

            def split(r):
                new = r[len(x) :]
                for function in inner:
                    new = function(new)
                return r[: len(x)] + new

            back.append(split)
            return np.concatenate([x, h])

        x = max_pool(np.maximum(normalise(convolve(image, features.conv0), features.norm0), 0))
        for name, layer in list(features.named_children())[4:-1]:
            if name.startswith("denseblock"):
                for inner in layer.values():
                    x = dense_layer(x, inner)
            else:
                x = convolve(np.maximum(normalise(x, layer.norm), 0), layer.conv)
                x = average_pool(x, 2)
        x = np.maximum(normalise(x, features.norm5), 0)
        x = average_pool(x, x.shape[1])[:, 0, 0]
        weight = self.net.classifier.weight.detach().numpy()[output]
        z = weight @ x + self.net.classifier.bias.detach().numpy()[output]
        r = (x * weight / (z + np.copysign(0.1, z)) * z)[:, None, None]
        for function in reversed(back):
            r = function(r)
        return r


# The steps


@pytest.fixture
def explained(tmp_path):
    """A net, four of its images, and maps of them as explain writes them."""
    images, net = draw_images(tmp_path, 4), save_start(tmp_path, "resnet18")
    pixels, rows = open_images(images)
    rows["explain"] = rows["class"]
    save_images(images, np.array(pixels), rows)
    outputs = [CLASSES.index(name) for name in rows["class"]]
    maps, tables = {}, []
    for method in IN_INNVESTIGATE:
        found, logits = relevance_maps(load_net(net)[0], pixels, outputs, [method], CPU)[method]
        names = [f"{n}_{method}" for n in range(4)]
        maps |= dict(zip(names, found, strict=True))
        columns = {"method": method, "logit": logits, "relevance_sum": 0.0, "relevance": names}
        tables.append(rows.assign(**columns))
    np.savez(tmp_path / "relevance.npz", **maps)
    pd.concat(tables).to_csv(tmp_path / "heatmaps.csv", index=False)
    return net, images, tmp_path / "heatmaps.csv", tmp_path / "relevance.npz", maps


def test_equal_heatmaps_pass(explained, tmp_path):
    *files, _ = explained
    check_heatmaps(*files, 0.995, tmp_path / "agreement.csv")
    table = pd.read_csv(tmp_path / "agreement.csv")
    assert len(table) == 8
    assert table.rank_correlation.min() > 0.999


def test_one_wrong_heatmap_stops(explained, tmp_path):
    *files, maps = explained
    name = "2_preset_a_flat_conserving"
    np.savez(files[-1], **maps | {name: maps[name][::-1]})
    with pytest.raises(InputError, match=r"of 2\.png by preset_a_flat_conserving has a rank"):
        check_heatmaps(*files, 0.995, tmp_path / "agreement.csv")
    assert not (tmp_path / "agreement.csv").exists()


def test_nothing_to_check_is_an_error(explained, tmp_path):
    net, images, heatmaps, relevance, _ = explained
    pd.read_csv(heatmaps).assign(method="lrp.z").to_csv(heatmaps, index=False)
    with pytest.raises(InputError, match="nothing can be checked"):
        check_heatmaps(net, images, heatmaps, relevance, 0.995, tmp_path / "agreement.csv")


def test_the_test_set_is_explained_by_the_decision(explained, tmp_path):
    net, images, *_ = explained
    names = ("gallery", "test_set.npz", "test_set.csv", "seconds.csv")
    files, methods = [tmp_path / name for name in names], [*IN_INNVESTIGATE, "grad_cam"]
    explain_test_set(net, images, images, methods, *files)
    tables, maps = pd.read_csv(files[2]), np.load(files[1])
    assert list(maps) == list(tables.method.unique()) == methods
    assert list(tables.conservation_error.isna()) == [False] * 8 + [True] * 4
    assert list(pd.read_csv(files[3]).method) == methods
    times = files[3].read_text()
    assert _without_times(times) == "method,images\n" + "".join(f"{m},12\n" for m in methods)
    table, maps = tables[tables.method == METHODS[1]], maps[METHODS[1]]
    logits = predict_logits(load_net(net)[0], open_by_class(images, CLASSES), CPU)
    decisions = logits.argmax(axis=1)
    assert list(table["class"]) == [CLASSES[n] for n in decisions]
    pixels = open_images(images)[0]
    found = relevance_maps(load_net(net)[0], pixels, decisions, [METHODS[1]], CPU)
    np.testing.assert_allclose(maps, found[METHODS[1]][0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(table.logit, logits.max(axis=1), rtol=1e-4)
    np.testing.assert_allclose(table.relevance_sum, maps.sum(axis=(1, 2)), rtol=1e-4)


def test_weights_drawn_anew_change_the_maps(explained, tmp_path):
    net, images, *_ = explained
    written = tmp_path / "table.csv", tmp_path / "figure.svg"
    randomise_weights(net, images, ["preset_a_flat", "grad_cam"], 1, 0, *written)
    table = pd.read_csv(tmp_path / "table.csv")
    assert len(table) == 3 * 2 * 2
    assert set(table.image) == {"0.png", "1.png", "2.png"}
    assert table.rank_correlation.abs().max() < 1
    assert (tmp_path / "figure.svg").stat().st_size


def test_relevance_however_large_is_lost_where_nothing_was_added():
    """As shipped, relevance grows without limit from layer to layer."""
    x, large = torch.zeros(1, 1, 4, 4, requires_grad=True), torch.full((1, 1, 4, 4), 1e30)
    convolution = torch.nn.Conv2d(1, 1, 3, padding=1, bias=False)
    norm = torch.nn.BatchNorm2d(1).eval()
    norm.running_mean.fill_(1)  # so that no shift is added
    for values in (
        Convolution.apply(x, convolution, parts_by_sign(convolution, True), None, False),
        Convolution.apply(x, convolution, parts_by_sign(convolution, False), None, False),
        ShippedBatchNorm.apply(x, norm),
    ):
        (relevance,) = torch.autograd.grad(values, x, large)
        assert torch.equal(relevance, torch.zeros_like(relevance))
