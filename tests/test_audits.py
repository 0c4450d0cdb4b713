"""Each audit on data with the flaw planted, and on data without it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd  # noqa: E402
from audit_adults import audit_adults  # noqa: E402
from audit_duplicates import audit_duplicates  # noqa: E402
from audit_nuisance import audit_nuisance  # noqa: E402
from audit_patients import audit_patients  # noqa: E402
from audit_pretraining import audit_pretraining  # noqa: E402
from audit_regions import audit_regions  # noqa: E402
from audit_relevance import audit_relevance  # noqa: E402
from audit_selection import audit_selection  # noqa: E402
from audit_sources import audit_sources  # noqa: E402
from audit_text import audit_text  # noqa: E402
from collect_audits import collect_audits  # noqa: E402
from cxr.arrays import save_images  # noqa: E402
from cxr.audits import lungs, save_audit  # noqa: E402
from cxr.logs import InputError  # noqa: E402
from cxr.nets import save_net  # noqa: E402
from small_trainings import CLASSES, new_net  # noqa: E402
from torch import nn  # noqa: E402

SIZE = 32


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def finding(out):
    """Result and gate of an audit, whose three files must be there."""
    assert out.exists() and out.with_suffix(".svg").exists()
    row = pd.read_csv(out.with_suffix(".finding.csv")).iloc[0]
    assert row.audit == out.stem
    return row.result, row.gate


@pytest.fixture
def out(tmp_path):
    return tmp_path / "audits" / "this.csv"


@pytest.mark.parametrize(("second", "gate"), [("3", "pass"), ("1", "fail")])
def test_patients(tmp_path, out, second, gate):
    nih = write(
        tmp_path / "nih.csv",
        image=list("abcd"), patient_id=["1", "1", "2", second],
        split=["train", "train", "val", "test"],
    )  # fmt: skip
    covid19 = write(
        tmp_path / "covid19.csv",
        image=list("abcde"), patient_id=["7", "7", "", "", "8"],
        split=["train", "test", "val", "test", "excluded"],
    )  # fmt: skip
    pairs = write(tmp_path / "pairs.csv", image=[], chestxray14_image=[], correlation=[])
    audit_patients(nih, covid19, pairs, out)
    result, found = finding(out)
    table = pd.read_csv(out).set_index(["dataset", "split", "other_split"])
    assert table.shared_patients["covid19", "train", "test"] == 1
    assert found == gate
    assert result.startswith(f"ChestX-ray14: {int(gate == 'fail')} patients in two splits")
    assert "COVID-19: 1 known ones, with 1 of 2 test images; of 2 of 4 images" in result


def test_patients_of_images_that_are_in_chestxray14(tmp_path, out):
    """Two images whose patient nobody named are of one patient of ChestX-ray14."""
    nih = write(
        tmp_path / "nih.csv",
        image=["1_0.png", "1_1.png"], patient_id=["1", "1"], split=["train", "train"],
    )  # fmt: skip
    covid19 = write(
        tmp_path / "c.csv", image=["a", "b", "c"], patient_id=["", "", ""],
        split=["train", "test", "val"],
    )  # fmt: skip
    pairs = write(
        tmp_path / "p.csv",
        image=["a", "b"], chestxray14_image=["1_0.png", "1_1.png"], correlation=[0.98, 0.99],
    )  # fmt: skip
    audit_patients(nih, covid19, pairs, out)
    result, gate = finding(out)
    assert gate == "pass", "of ChestX-ray14 no patient is in two splits"
    assert "COVID-19: 1 known ones, with 1 of 1 test images; of 1 of 3 images" in result


@pytest.mark.parametrize(
    ("trained_on", "copied", "gate"),
    [("a", False, "pass"), ("t", False, "fail"), ("a", True, "fail")],
)
def test_selection(tmp_path, out, trained_on, copied, gate):
    """A test image among the training images, by its name or, under another name, by its bytes."""
    split = write(
        tmp_path / "split.csv",
        image=list("abt"), split=["train", "val", "test"],
        sha256=["1", "2", "1" if copied else "3"],
    )  # fmt: skip
    augmented = [write(tmp_path / f"{name}.csv", image=[name] * 2) for name in (trained_on, "b")]
    history = tmp_path / "netA" / "phase1" / "history.csv"
    history.parent.mkdir(parents=True)
    write(history, epoch=[1, 2, 3], val_loss=[0.5, 0.2, 0.3])
    audit_selection([history], augmented, split, out)
    assert finding(out)[1] == gate
    assert pd.read_csv(out).kept_epoch.tolist() == [2]


def predictions(path, right, version="edited", covered=0.9):
    """Predictions of ten images of each class, of which the last are wrong."""
    rows = []
    for number, name in enumerate(CLASSES):
        for place in range(10):
            wrong = place >= right
            predicted = CLASSES[(number + wrong) % 3]
            sigmoids = {c: covered if c == predicted else 0.05 for c in CLASSES}
            rows.append({"image": f"{name}{place}", "class": name, "version": version, **sigmoids})
            rows[-1]["predicted"] = predicted
    table = pd.DataFrame(rows)
    if path:
        table.to_csv(path, index=False)
    return table


@pytest.mark.parametrize("planted", [False, True])
def test_duplicates(tmp_path, out, planted):
    """Two test images that are right only as they were seen in training."""
    names = [f"{name}{place}" for name in CLASSES for place in range(10)]
    table = predictions(tmp_path / "netA.csv", 8)
    split = write(
        tmp_path / "split.csv", image=[*names, "x", "y"], split=["test"] * 30 + ["train"] * 2
    )
    pairs = {"image": ["normal0", "x"], "duplicate": ["x", "covid191"]}
    pairs |= {"class": ["normal", "normal"], "duplicate_class": ["normal", "covid19"]}
    if not planted:
        pairs = {
            "image": ["x"],
            "duplicate": ["y"],
            "class": ["normal"],
            "duplicate_class": ["normal"],
        }
    audit_duplicates(
        write(tmp_path / "d.csv", **pairs), split, {"netA": tmp_path / "netA.csv"}, out
    )
    result, gate = finding(out)
    scores = pd.read_csv(out.with_suffix(".scores.csv")).set_index("images")
    assert scores.accuracy["all"] == pytest.approx(24 / 30)
    if planted:
        assert gate == "report"
        assert result.startswith("2 of 2 pairs of duplicates lie across splits, 1 across classes")
        assert scores.accuracy["without"] == pytest.approx(22 / 28)
    else:
        assert gate == "pass"
        assert scores.accuracy["without"] == scores.accuracy["all"]
    assert len(table) == scores.n["all"]


@pytest.mark.parametrize("mixed", [False, True])
def test_sources(tmp_path, out, mixed):
    images = [f"{number}" for number in range(30)]
    classes = [CLASSES[number % 3] for number in range(30)]
    hosts = ["a.org", "b.org"]
    urls = [f"https://www.{hosts[n % 2 if mixed else n % 3 == 2]}/{n}" for n in range(29)] + [""]
    metadata = write(tmp_path / "m.csv", **{"image": images, "class": classes, "url": urls})
    split = write(tmp_path / "s.csv", image=images, split=["train"] * 30)
    audit_sources(metadata, split, out)
    result, gate = finding(out)
    assert gate == "report"
    assert "the source of 1 of 30 images is not known" in result
    value = float(result.split("class and source ")[1][:4])
    assert value < 0.2 if mixed else value > 0.9


def test_unknown_sources_are_said(tmp_path, out):
    metadata = write(tmp_path / "m.csv", **{"image": ["a"], "class": ["normal"], "url": [""]})
    audit_sources(metadata, write(tmp_path / "s.csv", image=["a"], split=["train"]), out)
    assert finding(out)[0].startswith("no image's source is known")


@pytest.mark.parametrize("planted", [False, True])
def test_text(tmp_path, out, planted):
    """A net that gives its right decisions up once text is covered."""
    unedited = predictions(None, 10, "unedited")
    edited = predictions(None, 5 if planted else 10, "edited")
    pd.concat([edited, unedited]).to_csv(tmp_path / "netA.csv", index=False)
    boxes = write(tmp_path / "boxes.csv", image=[f"covid19{n}" for n in range(10)])
    audit_text(boxes, {"netA": tmp_path / "netA.csv"}, 0, out)
    result, gate = finding(out)
    row = pd.read_csv(out).iloc[0]
    assert gate == "report"
    assert "0% of normal, 0% of viral_pneumonia, 100% of covid19" in result
    assert row.images_with_text == 10
    assert row.changed_decisions == (5 if planted else 0)
    assert row.change == pytest.approx(-0.425 if planted else 0)
    assert row.change_high < 0 if planted else row.change_high == 0


def image_set(path, pixels, classes, **columns):
    names = [f"{path.stem}{number}.png" for number in range(len(pixels))]
    save_images(path, pixels, pd.DataFrame({"image": names, "class": classes, **columns}))
    return path


@pytest.mark.parametrize("planted", [False, True])
def test_pretraining(tmp_path, out, planted):
    """A brighter copy of an image of ChestX-ray14 in the database."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (12, 8, 8)).astype(np.uint8)
    pixels = coarse.repeat(8, axis=1).repeat(8, axis=2)
    nih = image_set(tmp_path / "nih.npy", pixels[:8], ["none"] * 8)
    database = pixels[8:].copy()
    if planted:
        database[2] = pixels[5] + 20
    covid19 = image_set(tmp_path / "covid19.npy", database, ["normal"] * 4)
    audit_pretraining([nih], [covid19], 8, 0.97, out)
    result, gate = finding(out)
    assert result.startswith(f"{int(planted)} of 4 images of the COVID-19 database look like one")
    assert gate == ("report" if planted else "pass")
    expected = [("covid192.png", "nih5.png")] if planted else []
    pairs = pd.read_csv(out)
    assert list(zip(pairs.image, pairs.chestxray14_image, strict=True)) == expected


@pytest.mark.parametrize("planted", ["nothing", "border", "file"])
def test_nuisance(tmp_path, out, planted):
    """Noise whose border, or whose file's size, tells the class, or neither."""
    rng = np.random.default_rng(0)
    paths, manifest = [], []
    for name in ("train", "val", "test"):
        classes = np.arange(60) % 3
        pixels = rng.integers(100, 156, (60, SIZE, SIZE)).astype(np.uint8)
        if planted == "border":
            pixels[:, :2] = (classes * 60)[:, None, None]
        named = np.array(CLASSES)[classes]
        paths.append(image_set(tmp_path / f"{name}.npy", pixels, named))
        size = 1000 + 500 * classes if planted == "file" else np.full(60, 1000)
        files = {"image": [f"{name}{n}.png" for n in range(60)], "bytes": size, "mode": "L"}
        manifest.append(pd.DataFrame(files | {"width": 64, "height": 64, "tint": 0.0}))
    pd.concat(manifest).to_csv(tmp_path / "manifest.csv", index=False)
    audit_nuisance(tmp_path / "manifest.csv", *paths, 0, out)
    scores = pd.read_csv(out).set_index("from").balanced_accuracy
    result, gate = finding(out)
    assert gate == "report"
    if planted == "nothing":
        assert scores.max() < 0.55
    else:
        assert scores[planted] > 0.95
        assert f"{scores.max():.0%}" in result


class Brightness(nn.Module):
    """Decides by the brightness of a region: COVID-19 where it is bright, else normal."""

    def __init__(self, region):
        super().__init__()
        self.region = torch.from_numpy(region)
        self.fc = nn.Linear(1, 3)
        with torch.no_grad():
            self.fc.weight[:, 0] = torch.tensor([-1.0, 0.0, 1.0])
            self.fc.bias[:] = torch.tensor([0.0, -9.0, 0.0])

    def forward(self, x):
        return self.fc(x[:, 0][:, self.region].mean(dim=1, keepdim=True))


@pytest.mark.parametrize("planted", [False, True])
def test_regions(tmp_path, out, monkeypatch, planted):
    """A net that reads the border alone keeps its accuracy without lungs; one of lungs doesn't.

    Nor does a new output layer help it.
    """
    inside = lungs(SIZE)
    region = ~inside if planted else inside
    pixels = np.full((20, SIZE, SIZE), 60, np.uint8)
    pixels[10:, region] = 250
    images = image_set(tmp_path / "t.npy", pixels, ["normal"] * 10 + ["covid19"] * 10)
    description = {"outputs": CLASSES}
    monkeypatch.setattr("audit_regions.load_net", lambda _: (Brightness(region), description))
    audit_regions({"netA": None}, images, images, 0, out)
    found = pd.read_csv(out).set_index("region")
    table = found.accuracy[found.output_layer == "as trained"]
    new = found.accuracy[found.output_layer == "trained anew"]
    result, gate = finding(out)
    assert gate == "report" and "central ellipse" in result
    assert table["all"] == 1
    assert table["without lungs" if planted else "lungs alone"] == 1
    assert table["lungs alone" if planted else "without lungs"] == 0.5
    assert new["all"] == new["without lungs" if planted else "lungs alone"] == 1
    assert new["lungs alone" if planted else "without lungs"] == 0.5


def test_regions_tell_apart_what_a_new_output_layer_can(tmp_path, out, monkeypatch):
    """A net that decides wrongly without lungs, though what it sees there tells the class."""
    pixels = np.full((20, SIZE, SIZE), 60, np.uint8)
    pixels[10:] = 90
    images = image_set(tmp_path / "t.npy", pixels, ["normal"] * 10 + ["covid19"] * 10)
    loaded = Brightness(np.ones((SIZE, SIZE), bool)), {"outputs": CLASSES}
    monkeypatch.setattr("audit_regions.load_net", lambda _: loaded)
    audit_regions({"netA": None}, images, images, 0, out)
    found = pd.read_csv(out).set_index(["output_layer", "region"]).accuracy
    assert found["as trained", "without lungs"] == 0.5
    assert found["trained anew", "without lungs"] == 1
    assert "with a new output layer 100%" in finding(out)[0]


@pytest.mark.parametrize("planted", [False, True])
def test_relevance(tmp_path, out, planted):
    inside = lungs(SIZE)
    maps = np.where(inside != planted, 1.0, 0.1)[None].repeat(6, axis=0)
    maps[:, 0, 0] = -1000  # what speaks against doesn't count
    np.savez(tmp_path / "maps.npz", relevance=maps)
    table = write(tmp_path / "t.csv", image=list("abcdef"), **{"class": ["normal", "covid19"] * 3})
    audit_relevance(tmp_path / "maps.npz", table, 0, out)
    assert finding(out)[1] == "report"
    shares = pd.read_csv(out).share_inside
    assert (shares < 0.2).all() if planted else (shares > 0.85).all()


@pytest.mark.parametrize("planted", [False, True])
def test_adults(tmp_path, out, monkeypatch, planted):
    pixels = np.full((9, SIZE, SIZE), 250 if planted else 10, np.uint8)
    names = [f"{number}.png" for number in range(9)]
    save_images(tmp_path / "a.npy", pixels, pd.DataFrame({"image": names}))
    split = write(
        tmp_path / "split.csv",
        **{"image": names, "split": ["train", *["test"] * 8], "No Finding": [1] * 8 + [0]},
    )
    everywhere = np.ones((SIZE, SIZE), bool)
    loaded = Brightness(everywhere), {"outputs": CLASSES}
    monkeypatch.setattr("audit_adults.load_net", lambda _: loaded)
    audit_adults({"netA": None}, [tmp_path / "a.npy"], split, 5, 0, out)
    result, gate = finding(out)
    share = "100% to 100%" if planted else "0% to 0%"
    assert gate == "report"
    assert result == f"of 5 adults without a finding the nets call {share} COVID-19"


def test_adults_without_any_is_an_error(tmp_path, out):
    names = ["a.png", "b.png"]
    pixels = np.zeros((2, SIZE, SIZE), np.uint8)
    save_images(tmp_path / "a.npy", pixels, pd.DataFrame({"image": names}))
    columns = {"image": names, "split": "test", "No Finding": 0}
    split = write(tmp_path / "split.csv", **columns)
    net = {"architecture": "resnet18", "outputs": CLASSES, "image_size": SIZE}
    save_net(tmp_path / "net.safetensors", new_net("resnet18"), net)
    with pytest.raises(InputError, match="no test image of ChestX-ray14 is labelled No Finding"):
        audit_adults({"netA": tmp_path / "net.safetensors"}, [tmp_path / "a.npy"], split, 5, 0, out)
    assert not out.exists()


def test_findings_are_collected_and_a_failure_stops_a_strict_run(tmp_path):
    paths = []
    for name, gate in (("patients", "fail"), ("text", "report")):
        save_audit(tmp_path / f"{name}.csv", pd.DataFrame({"a": [1]}), f"about {name}", gate)
        paths.append(tmp_path / f"{name}.finding.csv")
    collect_audits(paths, False, tmp_path / "audits.csv")
    table = pd.read_csv(tmp_path / "audits.csv")
    assert list(table.columns) == ["audit", "result", "gate"]
    assert list(table.gate) == ["fail", "report"]
    with pytest.raises(InputError, match="1 audits failed, first patients: about patients"):
        collect_audits(paths, True, tmp_path / "strict.csv")
    assert not (tmp_path / "strict.csv").exists()
