"""Nets: kept output neurons, frozen layers, stored and loaded to the bit."""

import gzip
import hashlib

import pytest

torch = pytest.importorskip("torch")
from build_net import build_net
from cxr.cli import InputError
from cxr.data.chestxray14 import FINDINGS, LABELS
from cxr.data.covid19 import CLASSES
from cxr.nets.torch_nets import (
    NetError,
    create,
    freeze_all_but_output_layer,
    load_imagenet,
    load_net,
    output_layer,
    save_net,
)

KEPT = {
    "netC": (LABELS, {"normal": "No Finding", "viral_pneumonia": "Pneumonia"}),
    "netE": (FINDINGS, {"viral_pneumonia": "Pneumonia"}),
}


def store(path, architecture, outputs):
    net = create(architecture, len(outputs))
    description = {"architecture": architecture, "outputs": list(outputs), "image_size": 64}
    save_net(path, net, description)
    return net


@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize(
    "architecture", ["densenet121", "regnet_x_400mf", "resnet18", "squeezenet1_1"]
)
def test_kept_neurons_equal_the_source_s_and_new_ones_don_t(tmp_path, name, architecture):
    outputs, keep = KEPT[name]
    source = store(tmp_path / "source.safetensors", architecture, outputs)
    build_net(
        architecture, list(CLASSES), 64, 0, tmp_path / "net.safetensors",
        start=tmp_path / "source.safetensors", keep=keep,
    )  # fmt: skip
    net, description = load_net(tmp_path / "net.safetensors")
    assert description["kept_output_neurons"] == keep
    new, old = output_layer(net), output_layer(source)
    for number, output in enumerate(CLASSES):
        if output in keep:
            row = outputs.index(keep[output])
            assert torch.equal(new.weight[number], old.weight[row])
            assert torch.equal(new.bias[number], old.bias[row])
        else:
            assert not any(torch.equal(new.weight[number], weight) for weight in old.weight)
    below = [
        key for key in source.state_dict() if source.state_dict()[key].shape[:1] != (len(outputs),)
    ]
    assert below
    assert all(torch.equal(net.state_dict()[key], source.state_dict()[key]) for key in below)


def test_seed_decides_the_random_weights(tmp_path):
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        build_net("resnet18", list(CLASSES), 64, seed, path)
    first, again, other = (path.read_bytes() for path in paths)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("keep", "message"),
    [({"normal": "Flu"}, "no output 'Flu'"), ({"flu": "Pneumonia"}, "no output 'flu'")],
)
def test_unknown_neurons_are_named(tmp_path, keep, message):
    store(tmp_path / "source.safetensors", "resnet18", FINDINGS)
    with pytest.raises(NetError, match=message):
        build_net(
            "resnet18", list(CLASSES), 64, 0, tmp_path / "net.safetensors",
            start=tmp_path / "source.safetensors", keep=keep,
        )  # fmt: skip
    assert not (tmp_path / "net.safetensors").exists()


def test_another_architecture_is_refused(tmp_path):
    store(tmp_path / "source.safetensors", "resnet18", FINDINGS)
    with pytest.raises(NetError, match="layers differ"):
        build_net(
            "resnet34", list(CLASSES), 64, 0, tmp_path / "net", tmp_path / "source.safetensors"
        )


def test_unknown_architecture_is_refused():
    with pytest.raises(NetError, match="'densenet999'"):
        create("densenet999", 3)


def test_imagenet_file_with_dotted_names_loads(tmp_path):
    net = create("densenet121", 1000)
    dotted = {
        key.replace("norm1", "norm.1").replace("conv1.w", "conv.1.w").replace("conv2", "conv.2")
        .replace("norm2", "norm.2") if "denselayer" in key else key: value
        for key, value in net.state_dict().items()
        if "num_batches_tracked" not in key
    }  # fmt: skip
    torch.save(dotted, tmp_path / "densenet121.pth", _use_new_zipfile_serialization=False)
    build_net(
        "densenet121", list(CLASSES), 64, 0, tmp_path / "net.safetensors",
        start=tmp_path / "densenet121.pth",
    )  # fmt: skip
    loaded, _ = load_net(tmp_path / "net.safetensors")
    key = "features.denseblock1.denselayer1.conv1.weight"
    assert torch.equal(loaded.state_dict()[key], net.state_dict()[key])


def test_freezing_leaves_the_output_layer():
    net = create("densenet121", 3)
    freeze_all_but_output_layer(net)
    trainable = [name for name, parameter in net.named_parameters() if parameter.requires_grad]
    assert trainable == ["classifier.weight", "classifier.bias"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A whole state dict of squeezenet1_1 as .pth."""
    path = tmp_path_factory.mktemp("weights") / "net.pth"
    torch.save(create("squeezenet1_1", 1000).state_dict(), path)
    return path.read_bytes()


def one_bit(content):
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda whole: b"", "an empty file"),
        (lambda whole: b"<!DOCTYPE html><title>404</title>", "an HTML"),
        (lambda whole: b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (gzip.compress, "found gzip"),
        (lambda whole: b"\0" * 5000, "zeros"),
        (lambda whole: "weights".encode("utf-16"), "UTF-16"),
        (lambda whole: whole[: len(whole) // 2], "cut or damaged"),
        (lambda whole: b"Not Found", "cut or damaged"),
    ],
    ids=["empty", "HTML", "LFS pointer", "gzip", "zeros", "UTF-16", "cut", "text"],
)
def test_what_is_no_checkpoint_is_named(tmp_path, weights, name, damage, message):
    if name.endswith(".safetensors"):
        store(tmp_path / name, "squeezenet1_1", CLASSES)
        weights = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(damage(weights))
    out = tmp_path / "out.safetensors"
    with pytest.raises(InputError, match=message) as caught:
        build_net("squeezenet1_1", list(CLASSES), 64, 0, out, start=tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    assert not out.exists()


def test_one_bit_of_a_weight_is_found_where_there_is_a_sum(tmp_path, weights):
    (tmp_path / "net.pth").write_bytes(one_bit(weights))
    with pytest.raises(NetError, match=r"net\.pth: found a .*damaged checkpoint"):
        load_imagenet(tmp_path / "net.pth", "squeezenet1_1")
    digest = hashlib.sha256(weights).hexdigest()
    (tmp_path / f"net-{digest[:8]}.pth").write_bytes(weights)
    load_imagenet(tmp_path / f"net-{digest[:8]}.pth", "squeezenet1_1")
    (tmp_path / "net-0a1b2c3d.pth").write_bytes(weights)
    with pytest.raises(NetError, match=r"expected 0a1b2c3d\.\.\. by its name"):
        load_imagenet(tmp_path / "net-0a1b2c3d.pth", "squeezenet1_1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: [1], "found a list, expected a dict of tensors"),
        (lambda state: {"net": state}, "found a dict, expected a dict of tensors"),
        (lambda state: state | {"classifier.1.bias": torch.full([1000], torch.nan)}, "no finite"),
        (lambda state: state | {"classifier.1.bias": torch.zeros(1000, dtype=int)}, "torch.int64"),
    ],
)
def test_weights_that_are_none_are_refused(tmp_path, change, message):
    state = create("squeezenet1_1", 1000).state_dict()
    torch.save(change(state), tmp_path / "net.pth")
    with pytest.raises(NetError, match=message):
        load_imagenet(tmp_path / "net.pth", "squeezenet1_1")
