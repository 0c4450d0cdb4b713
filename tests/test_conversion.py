"""The conversions, from the PyTorch side; Keras steps run in their own environment."""

import os
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from cxr.cli import InputError
from cxr.data.image_sets import save_images
from cxr.nets import onnx_export, torch_nets
from export_onnx import export_onnx

SCRIPTS = Path(__file__).parents[1] / "workflow_scripts"
OUTPUTS = ["normal", "viral_pneumonia", "covid19"]
# Sets one weight of the first convolution of a Keras net.
SPOIL = """
import h5py, sys
def first_kernel(name, values):
    if name.endswith("kernel:0") and values.ndim == 4:
        values[0, 0, 0, 0] = float(sys.argv[2])
        return True
with h5py.File(sys.argv[1], "a") as file:
    file["model_weights"].visititems(first_kernel)
"""
LAYERS = """
import h5py, json, sys
layers = json.loads(h5py.File(sys.argv[1]).attrs["model_config"])["config"]["layers"]
print(" ".join(layer["class_name"] for layer in layers))
"""


def keras(*command):
    """Run Keras' Python; a step's name comes first."""
    if "KERAS_PYTHON" not in os.environ:
        pytest.skip("KERAS_PYTHON is not set; make test sets it")
    python = Path(os.environ["KERAS_PYTHON"]).absolute()
    return subprocess.run([python, *command], capture_output=True, text=True)


def drawn_images(n, size, seed=0):
    """Smooth random uint8 (n, size, size)."""
    coarse = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed)) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic")
    return fine[:, 0].clamp(0, 255).to(torch.uint8).numpy()


def random_net(architecture, size):
    """A net with random weights whose batch norm has seen images."""
    torch.manual_seed(0)
    net = torch_nets.create(architecture, len(OUTPUTS)).train()
    with torch.no_grad():
        for seed in range(3):
            net(torch_nets.normalise(torch.from_numpy(drawn_images(8, size, seed))))
    description = {"architecture": architecture, "outputs": OUTPUTS, "image_size": size}
    return net.eval(), description


def exported(architecture, folder, size=64):
    """Folder with a stored net, 12 images, and what export_onnx makes of them."""
    torch_nets.save_net(folder / "model.safetensors", *random_net(architecture, size))
    rows = {"image": [f"{n}.png" for n in range(12)], "class": OUTPUTS * 4}
    save_images(folder / "test.npy", drawn_images(12, size), pd.DataFrame(rows))
    export(folder)
    return folder


def export(folder):
    export_onnx(
        folder / "model.safetensors",
        folder / "test.npy",
        folder / "model.onnx",
        folder / "keras_source.onnx",
        folder / "logits.csv",
        threads=1,
    )


def check(folder, *source, model="model.h5"):
    """Run convert_keras on folder's Keras net: without a source, it is only checked."""
    return keras(
        SCRIPTS / "convert_keras.py",
        *source,
        *("--model", folder / model),
        *("--images", folder / "test.npy", folder / "test.csv"),
        *("--logits", folder / "logits.csv"),
        *("--conversion", folder / "conversion.csv"),
    )


@pytest.fixture(scope="module")
def resnet(tmp_path_factory):
    return exported("resnet18", tmp_path_factory.mktemp("resnet18"))


@pytest.fixture(scope="module")
def converted(resnet):
    """Folder with resnet18 as model.h5."""
    step = check(resnet, "--keras-source", resnet / "keras_source.onnx")
    assert step.returncode == 0, step.stderr
    return resnet


@pytest.mark.parametrize(
    ("architecture", "size"),
    [("densenet121", 64), ("resnet18", 64), ("squeezenet1_0", 64), ("squeezenet1_1", 96)],
)
def test_keras_source_computes_the_nets_logits(architecture, size, tmp_path):
    net, description = random_net(architecture, size)
    onnx_export.export_keras_source(net, description, tmp_path / "source.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "source.onnx")
    pixels = drawn_images(3, size)
    inputs = torch_nets.normalise(torch.from_numpy(pixels)).numpy()
    logits = [session.run(None, {onnx_export.INPUT: image[None]})[0].ravel() for image in inputs]
    np.testing.assert_allclose(logits, onnx_export.torch_logits(net, pixels), atol=1e-4)


def test_keras_source_keeps_batch_norm_apart(resnet):
    kinds = [node.op_type for node in onnx.load(resnet / "keras_source.onnx").graph.node]
    assert kinds.count("BatchNormalization") == 20
    assert not {"GlobalAveragePool", "Flatten", "Gemm"} & set(kinds)


def test_onnx_takes_any_number_of_images_and_names_its_outputs(resnet):
    session = onnxruntime.InferenceSession(resnet / "model.onnx")
    for n in (1, 5):
        pixels = torch_nets.normalise(torch.from_numpy(drawn_images(n, 64))).numpy()
        assert session.run(None, {onnx_export.INPUT: pixels})[0].shape == (n, 3)
    assert OUTPUTS[1] in session.get_modelmeta().custom_metadata_map["net"]


def test_logits_of_both_backends_agree(resnet):
    logits = pd.read_csv(resnet / "logits.csv")
    assert list(logits) == ["image", "class", "backend", *OUTPUTS]
    by_backend = {name: rows[OUTPUTS].to_numpy() for name, rows in logits.groupby("backend")}
    np.testing.assert_allclose(by_backend["onnxruntime"], by_backend["torch"], atol=1e-4)


def test_export_writes_the_same_bytes_again(resnet):
    names = ("model.onnx", "keras_source.onnx", "logits.csv")
    before = [(resnet / name).read_bytes() for name in names]
    export(resnet)
    assert [(resnet / name).read_bytes() for name in names] == before


@pytest.mark.parametrize(
    ("architecture", "size", "message"),
    [
        ("mobilenet_v2", 64, "mobilenet_v2 can't be converted.*supported are DenseNets, ResNets"),
        ("resnext50_32x4d", 64, "resnext50_32x4d can't be converted"),
        ("resnet18", 50, "image_size 50 is not a multiple of 32"),
    ],
)
def test_what_cannot_be_converted_is_named(architecture, size, message):
    net = torch_nets.create(architecture, len(OUTPUTS))
    description = {"architecture": architecture, "image_size": size}
    with pytest.raises(InputError, match=message):
        onnx_export.check_convertible(net, description, "model.safetensors")


def test_images_of_another_size_are_refused(resnet, tmp_path):
    rows = pd.DataFrame({"image": ["0.png"], "class": ["normal"]})
    save_images(tmp_path / "test.npy", drawn_images(1, 96), rows)
    (tmp_path / "model.safetensors").symlink_to(resnet / "model.safetensors")
    with pytest.raises(InputError, match="the net takes"):
        export(tmp_path)
    assert not list(tmp_path.glob("*.onnx"))


def test_resnet_agrees_in_all_backends(converted):
    assert check(converted).returncode == 0, "the stored net, too"
    table = pd.read_csv(converted / "conversion.csv", index_col="backend")
    assert list(table.index) == ["torch", "onnxruntime", "keras"]
    assert (table.n == 12).all()
    assert (table.disagreements == 0).all()
    assert table.max_abs_logit_difference.max() < 1e-4


def test_densenet_agrees_in_keras(tmp_path):
    exported("densenet121", tmp_path)
    step = check(tmp_path, "--keras-source", tmp_path / "keras_source.onnx")
    assert step.returncode == 0, step.stderr
    table = pd.read_csv(tmp_path / "conversion.csv", index_col="backend")
    assert table.max_abs_logit_difference["keras"] < 1e-4


def test_keras_net_has_a_dense_head_and_no_lambda(converted):
    layers = keras("-c", LAYERS, converted / "model.h5").stdout.split()
    assert layers[-2:] == ["Flatten", "Dense"]
    assert layers.count("BatchNormalization") == 20
    assert "Lambda" not in layers


@pytest.mark.parametrize("weight", ["100", "nan"])
def test_gate_refuses_one_wrong_weight_and_names_images(converted, weight):
    (converted / "conversion.csv").unlink(missing_ok=True)
    (converted / "wrong.h5").write_bytes((converted / "model.h5").read_bytes())
    assert keras("-c", SPOIL, converted / "wrong.h5", weight).returncode == 0
    checked = check(converted, model="wrong.h5")
    assert checked.returncode == 1
    *table, line = checked.stderr.strip().splitlines()
    assert line.startswith("error: ") and "keras and torch differ for 12 of 12" in line
    assert "(0.png, 1.png, 2.png, ...)" in line
    assert table[0].startswith("backend,n,accuracy")
    assert not (converted / "conversion.csv").exists()
