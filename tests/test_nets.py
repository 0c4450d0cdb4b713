"""Nets: kept output neurons, frozen layers, stored and loaded to the bit."""

import pytest

torch = pytest.importorskip("torch")
from build_net import build_net  # noqa: E402
from cxr.chestxray14 import FINDINGS, LABELS  # noqa: E402
from cxr.covid19 import CLASSES  # noqa: E402
from cxr.nets import (  # noqa: E402
    NetError,
    create,
    freeze_all_but_output_layer,
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
@pytest.mark.parametrize("architecture", ["densenet121", "resnet18", "squeezenet1_1"])
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
    with pytest.raises(NetError, match="other layers"):
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
