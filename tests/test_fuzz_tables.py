"""Damaged tables, arrays, JSON and checkpoints: read or refused in one line, never a traceback."""

import gzip
import io
import json
import signal

import pytest
from mutations import mutations

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")
from cxr.cli import InputError
from cxr.data.covid19 import CLASSES, read_image_table
from cxr.data.image_sets import open_images, read_relevance
from cxr.evaluation.predictions import final_predictions, read_predictions
from cxr.evaluation.scores import confusion
from cxr.nets import chexnet, torch_nets
from cxr.nets.published import read_record, read_temperature
from predict_images import read_split
from prepare_covid19 import read_boxes
from split_covid19 import split_covid19
from split_patients import split_patients
from torchvision.models.densenet import DenseNet

SECONDS = 20  # for one damaged file, which takes milliseconds


@pytest.fixture(autouse=True)
def no_hang():
    def stop(signum, frame):
        raise TimeoutError(f"longer than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def survives(path, content, n, read, check=lambda found: None):
    """Read n damaged copies of content from path; how many could be read.

    check is given what read returns. All but InputError and OSError fails, as in user_errors.
    """
    n_read = 0
    for number, damaged in enumerate(mutations(content, n, seed=0)):
        path.write_bytes(damaged)
        signal.alarm(SECONDS)
        try:
            found = read(path)
        except (InputError, OSError) as error:
            line = str(error)
            assert str(path.parent) in line or line.startswith("class "), (number, error)
            assert "\n" not in line, (number, error)
            continue
        finally:
            signal.alarm(0)
        check(found)
        n_read += 1
    assert n_read < n, "nothing was refused: does the damage reach the file?"
    return n_read


LABELS = "Image Index,Finding Labels,Follow-up #,Patient ID\n" + "".join(
    f"{patient:08}_{visit:03}.png,{finding},{visit},{patient}\n"
    for patient in range(1, 13)
    for visit, finding in enumerate(("No Finding", "Mass|Nodule", "Hernia"))
)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_label_tables(tmp_path, packed):
    labels, out = tmp_path / "labels.csv", tmp_path / "split.csv"

    def split(path):
        split_patients(path, out, seed=0, fractions=(0.4, 0.3, 0.3))
        return pd.read_csv(out, keep_default_na=False, dtype=str)

    def check(table):
        content = labels.read_bytes()
        text = (gzip.decompress(content) if packed else content).decode("utf-8-sig")
        if '"' not in text:
            lines = [line for line in text.replace("\r", "\n").split("\n") if line.strip(", ")]
            assert len(table) == len(lines) - 1
        assert (table.patient_id != "").all()
        assert (table.iloc[:, 3:] == "1").any(axis=1).all(), "an image without any label"

    content = gzip.compress(LABELS.encode(), mtime=0) if packed else LABELS.encode()
    survives(labels, content, 140, split, check)


IMAGES = [f"{name}/{name} ({n}).png" for name in CLASSES for n in range(9)]


def table(**columns):
    return pd.DataFrame({"image": IMAGES} | columns).to_csv(index=False).encode()


@pytest.fixture
def database(tmp_path):
    """Tables that split_covid19 takes, by the name of its argument."""
    classes = [image.split("/")[0] for image in IMAGES]
    tables = {
        "manifest": table(**{"class": classes}, sha256="ab", reason=""),
        "lateral_views": b"file,note\ncovid19/covid19 (1).png,\n",
        "metadata": table(patient_id=[f"p{n % 11}" if n % 2 else "" for n in range(27)]),
        "duplicates": b"image,duplicate\nnormal/normal (1).png,normal/normal (2).png\n",
    }
    for name, content in tables.items():
        (tmp_path / f"{name}.csv").write_bytes(content)
    return {name: tmp_path / f"{name}.csv" for name in tables}


@pytest.mark.parametrize("name", ["manifest", "lateral_views", "metadata", "duplicates"])
def test_tables_of_the_database(tmp_path, database, name):
    def split(path):
        split_covid19(
            **database, split_by="patient", test_per_class=2, validation_fraction=0.2, seed=0,
            out=tmp_path / "split.csv",
        )  # fmt: skip

    survives(database[name], database[name].read_bytes(), 70, split)


def test_split_says_which_images_are_of_one_patient_or_duplicates(tmp_path, database):
    settings = {"test_per_class": 2, "validation_fraction": 0.2, "seed": 0}
    split_covid19(**database, split_by="image", **settings, out=tmp_path / "split.csv")
    rows = read_image_table(tmp_path / "split.csv", ["group"])
    group = rows.set_index("image").group
    assert group["normal/normal (1).png"] == group["normal/normal (2).png"]
    known = rows[rows.patient_id != ""]
    assert (known.groupby("patient_id").group.nunique() == 1).all()


def test_predictions_boxes_and_splits(tmp_path):
    classes = [image.split("/")[0] for image in IMAGES]
    predicted = table(**{"class": classes, "predicted": classes}, **dict.fromkeys(CLASSES, 0.25))
    survives(
        tmp_path / "predictions.csv", predicted, 70,
        lambda path: confusion(final_predictions(read_predictions(path))),
    )  # fmt: skip
    boxes = table(x0=1, y0=2, x1=30, y1=40, text="R")
    survives(tmp_path / "boxes.csv", boxes, 70, lambda path: read_boxes(path, set(IMAGES)))
    split = table(sha256="ab", split="train")
    survives(tmp_path / "split.csv", split, 35, read_split)
    survives(tmp_path / "split.csv", split, 35, lambda path: read_image_table(path, ["split"]))


def test_what_is_published_beside_a_net(tmp_path):
    record = {"architecture": "densenet121", "outputs": list(CLASSES), "image_size": 224}
    content = json.dumps(record | {"sha256": {"model.onnx": "ab"}}, indent=2).encode()
    survives(tmp_path / "model.json", content, 70, lambda path: read_record(path.parent))
    content = b"calibration,temperature,fitted\nbefore,1.0,False\nafter,1.7,True\n"
    survives(tmp_path / "calibration.csv", content, 70, lambda path: read_temperature(path.parent))


def test_image_sets_and_relevance(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16)).astype(np.uint8)
    pd.DataFrame({"image": list("abc")}).to_csv(tmp_path / "set.csv", index=False)
    np.save(tmp_path / "set.npy", pixels)
    np.savez_compressed(tmp_path / "maps.npz", relevance=pixels.astype(np.float32))

    def check(found):
        assert found[0].shape == pixels.shape

    content = (tmp_path / "set.npy").read_bytes()
    survives(tmp_path / "set.npy", content[:160], 140, open_images)
    survives(tmp_path / "set.npy", content, 70, open_images, check)
    survives(tmp_path / "maps.npz", (tmp_path / "maps.npz").read_bytes(), 140, read_relevance)


def tiny(n_outputs=3):
    return DenseNet(
        growth_rate=4, block_config=(1, 1), num_init_features=4, num_classes=n_outputs
    ).eval()


@pytest.fixture
def tiny_nets(monkeypatch):
    """Every architecture is a DenseNet of some kilobytes, so that damage meets its structure."""
    torch.manual_seed(0)
    for module in (torch_nets, chexnet):
        monkeypatch.setattr(module, "create", lambda architecture, n_outputs: tiny(n_outputs))
    monkeypatch.setattr(chexnet, "ARCHITECTURES", {tiny().classifier.in_features: "densenet121"})


def stored(content, zip_layout):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zip_layout)
    return buffer.getvalue()


def finite(net):
    assert all(tensor.isfinite().all() for tensor in net.state_dict().values())


@pytest.mark.filterwarnings("ignore")  # torch's, of versions that damage makes up
@pytest.mark.parametrize("zip_layout", [False, True], ids=["legacy", "zip"])
def test_pickled_checkpoints(tmp_path, tiny_nets, zip_layout):
    weights = stored(tiny(1000).state_dict(), zip_layout)
    survives(tmp_path / "net.pth", weights, 42, lambda p: torch_nets.load_imagenet(p, "x"), finite)
    module = stored({"model": tiny()}, zip_layout)
    survives(tmp_path / "net.pt", module, 56, lambda p: chexnet.load_densenet(p)[0], finite)


def test_a_pickle_that_asks_for_20_gb_is_refused(tmp_path, tiny_nets):
    """One byte makes the number of an object the length of the unpickler's list."""
    content = stored({"model": tiny()}, zip_layout=False)
    place = content.index(b"r\x00\x01\x00\x00") + 4  # LONG_BINPUT 256, little-endian
    (tmp_path / "net.pt").write_bytes(content[:place] + b"\x7f" + content[place + 1 :])
    with pytest.raises(InputError, match="it numbers object"):
        chexnet.load_densenet(tmp_path / "net.pt")


def test_own_checkpoints(tmp_path, tiny_nets):
    description = {"architecture": "densenet121", "outputs": list(CLASSES), "image_size": 32}
    torch_nets.save_net(tmp_path / "net.safetensors", tiny(), description)
    content = (tmp_path / "net.safetensors").read_bytes()
    survives(
        tmp_path / "net.safetensors", content, 105, lambda p: torch_nets.load_net(p)[0], finite
    )
