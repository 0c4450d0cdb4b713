"""The methods of heatmaps: against captum, by hand, and what must hold for all."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from captum.attr import LayerAttribution, LayerGradCam
from cxr.lrp.canonise import canonise
from cxr.lrp.methods import BASELINES, METHODS, heatmaps
from cxr.lrp.pytorch import Explainer
from cxr.nets.descriptions import NetError
from cxr.nets.inputs import network_input
from small_trainings import CPU
from torch import fx, nn
from torchvision.models import DenseNet, resnet18

SIZE = 64
OUTPUTS = np.array([0, 2, 1, 0])


def lively(net):
    """In eval mode, with batch norm that has channels of negative scale, too."""
    torch.manual_seed(1)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.uniform_(-0.5, 1.5)
                layer.bias.uniform_(-0.5, 0.5)
                layer.running_mean.uniform_(-0.3, 0.3)
                layer.running_var.uniform_(0.5, 2)
    return net.eval()


def densenet():
    torch.manual_seed(0)
    return lively(DenseNet(4, (2, 2), 8, bn_size=2, num_classes=3))


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (4, SIZE, SIZE), dtype=np.uint8)


@pytest.mark.parametrize("make", [densenet, lambda: lively(resnet18(num_classes=3))])
def test_canonised_nets_compute_the_same_without_batch_norm(make):
    net = make().double()
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight[0] = 0
    found = canonise(fx.symbolic_trace(net))
    images = torch.randn(2, 3, SIZE, SIZE, dtype=torch.float64)
    logits = net(images)
    torch.testing.assert_close(found(images), logits, rtol=1e-9, atol=1e-9)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in found.modules())
    torch.testing.assert_close(net(images), logits)  # the net itself is as it was


@pytest.mark.parametrize(
    "layers",
    [
        (nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 3, 3, padding=1)),  # pads 0, not the shift
        (nn.BatchNorm2d(3), nn.Conv2d(3, 3, 3)),
        (nn.Conv2d(3, 3, 3), nn.MaxPool2d(2), nn.BatchNorm2d(3)),
    ],
)
def test_batch_norm_that_nothing_can_take_over_is_an_error(layers):
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    with pytest.raises(NetError, match="no layer beside it can take over"):
        canonise(fx.symbolic_trace(net))


def test_canonised_relevance_is_what_the_last_layer_hands_down():
    """Below it nothing is lost; there, the bias and epsilon keep a share."""
    net = densenet().double()
    images, outputs = torch.randn(3, 3, SIZE, SIZE, dtype=torch.float64), torch.tensor([0, 2, 1])
    maps, logits = Explainer(net, "lrp_canonised")(images, outputs)
    traced = canonise(fx.symbolic_trace(net))
    kept = []
    traced.classifier.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
    z = traced(images)[range(3), outputs]
    torch.testing.assert_close(logits, z.detach())
    products = (kept[0] * traced.classifier.weight[outputs]).sum(1)
    expected = products * z / (z + torch.copysign(torch.tensor(0.1), z))
    torch.testing.assert_close(maps.sum((1, 2)), expected.detach(), rtol=1e-6, atol=1e-9)


def test_canonised_relevance_does_not_hang_on_how_the_net_is_written():
    """Batch norm behind a convolution, and the same convolution with it merged in."""
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    tail = [nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    one = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), norm, *tail))
    other = nn.Sequential(*one[:2], nn.utils.fuse_conv_bn_eval(one[2], norm), *tail).eval()
    images, outputs = torch.randn(2, 3, 16, 16), torch.tensor([0, 2])
    maps = [
        Explainer(net, method)(images, outputs)[0]
        for method in ("lrp_canonised", "preset_a_flat_conserving")
        for net in (one, other)
    ]
    torch.testing.assert_close(maps[0], maps[1])
    assert not torch.allclose(maps[2], maps[3], rtol=0.1)


def test_all_methods_have_maps_of_their_own(pixels):
    found = heatmaps(densenet(), pixels, OUTPUTS, METHODS, CPU)
    assert list(found) == list(METHODS) and set(BASELINES) < set(METHODS)
    for name, maps in found.items():
        assert maps.shape == pixels.shape and maps.dtype == np.float32, name
        assert np.isfinite(maps).all() and maps.any(axis=(1, 2)).all(), name
    alone = [np.round(maps / np.abs(maps).max(), 3).tobytes() for maps in found.values()]
    assert len(set(alone)) == len(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_map_depends_on_its_image_alone(pixels, name):
    def maps(places):
        return heatmaps(densenet(), pixels[places], OUTPUTS[places], [name], CPU, seed=3)[name]

    np.testing.assert_allclose(maps([2, 0, 1])[::-1], maps([1, 0, 2]), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_several_outputs_of_an_image_are_explained_as_each_alone(pixels, name):
    outputs = np.stack([OUTPUTS, (OUTPUTS + 1) % 3], axis=1)
    found = heatmaps(densenet(), pixels, outputs, [name], CPU, seed=3)[name]
    for column in (0, 1):
        alone = heatmaps(densenet(), pixels, outputs[:, column], [name], CPU, seed=3)[name]
        np.testing.assert_array_equal(found[:, column], alone)


@pytest.mark.parametrize("name", ["gradient_x_input", "integrated_gradients"])
def test_gradients_of_a_linear_net_are_its_terms(pixels, name):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(4 * 60 * 60, 3)).eval()
    found = heatmaps(net, pixels, OUTPUTS, [name], CPU)[name]
    inputs = network_input(torch.from_numpy(pixels))
    with torch.no_grad():
        expected = net(inputs) - net(torch.zeros_like(inputs))
    np.testing.assert_allclose(
        found.sum(axis=(1, 2)), expected[range(4), OUTPUTS], rtol=1e-3, atol=1e-4
    )


def test_integrated_gradients_add_up(pixels):
    """To the logit less that of ImageNet's mean colour, where the net is smooth."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 5), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    ).eval()
    found = heatmaps(net, pixels, OUTPUTS, ["integrated_gradients"], CPU)
    inputs = network_input(torch.from_numpy(pixels))
    with torch.no_grad():
        expected = (net(inputs) - net(torch.zeros_like(inputs)))[range(4), OUTPUTS]
    sums = found["integrated_gradients"].sum(axis=(1, 2))
    np.testing.assert_allclose(sums, expected, rtol=1e-3, atol=1e-5)


def test_grad_cam_is_captum_s(pixels):
    net = lively(resnet18(num_classes=3))
    found = heatmaps(net, pixels, OUTPUTS, ["grad_cam"], CPU)["grad_cam"]
    inputs = network_input(torch.from_numpy(pixels))
    cam = LayerGradCam(net, net.layer4).attribute(
        inputs, torch.from_numpy(OUTPUTS), relu_attributions=True
    )
    expected = LayerAttribution.interpolate(cam, (SIZE, SIZE), "bilinear")[:, 0]
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-4, atol=1e-6)


def test_baselines(pixels):
    found = heatmaps(None, pixels, OUTPUTS, BASELINES, CPU)
    peaks = found["gaussian"].reshape(4, -1).argmax(axis=1)
    assert set(peaks) <= {SIZE * row + col for row in (31, 32) for col in (31, 32)}
    step = np.zeros((1, SIZE, SIZE), np.uint8)
    step[:, :, 20:] = 200
    edges = heatmaps(None, step, [0], ["edges"], CPU)["edges"][0]
    assert set(np.unique(np.nonzero(edges)[1])) == {19, 20}
    again = heatmaps(None, pixels, OUTPUTS, ["random"], CPU, seed=1)["random"]
    assert not np.allclose(again, found["random"])
