"""Each audit on data with the flaw planted, and on data without it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
from audit_adults import audit_adults
from audit_duplicates import audit_duplicates
from audit_nuisance import audit_nuisance
from audit_patients import audit_patients
from audit_pretraining import audit_pretraining
from audit_regions import audit_regions
from audit_relevance import audit_relevance
from audit_selection import audit_selection
from audit_sources import audit_sources
from audit_text import audit_text
from collect_audits import collect_audits
from cxr.cli import InputError
from cxr.data.chestxray14 import years
from cxr.data.image_sets import ImageSet, save_images
from cxr.data.lungs import ellipse
from cxr.evaluation.audits import AuditOutputs, save_audit
from small_trainings import CLASSES
from torch import nn

SIZE = 32


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def outputs(table):
    return AuditOutputs(table, table.with_suffix(".finding.csv"), table.with_suffix(".svg"))


def finding(out):
    """Result and gate of an audit, whose three files must be there."""
    assert out.exists() and out.with_suffix(".svg").exists()
    row = pd.read_csv(out.with_suffix(".finding.csv")).iloc[0]
    assert row.audit == out.stem
    return row.result, row.gate


@pytest.fixture
def out(tmp_path):
    return tmp_path / "audits" / "this.csv"


NO_PAIRS = {"image": [], "chestxray14_image": [], "same_picture": []}


def pairs_table(path, *pairs):
    """A table of audit_pretraining: (image, chestxray14_image), which are the same picture."""
    images, others = [list(column) for column in zip(*pairs, strict=True)] if pairs else ([], [])
    return write(path, image=images, chestxray14_image=others, same_picture=[True] * len(pairs))


def patients_finding(folder, nih, database, pairs=NO_PAIRS):
    """Result and gate; nih, database: {split: patient IDs of its images, a letter each}."""
    out = folder / "audits" / "patients.csv"
    tables = []
    for name, splits in (("nih", nih), ("database", database)):
        rows = [(split, patient) for split, ids in splits.items() for patient in ids]
        table = pd.DataFrame(rows, columns=["split", "patient_id"])
        table["patient_id"] = table.patient_id.str.replace("?", "")
        table["image"] = [f"{name}{number}" for number in range(len(table))]
        table.assign(**{"class": "normal"}).to_csv(folder / f"{name}.csv", index=False)
        tables.append(folder / f"{name}.csv")
    audit_patients(*tables, write(folder / "pairs.csv", **pairs), outputs(out))
    return finding(out)


APART = {"train": "12", "val": "3", "test": "45"}


@pytest.mark.parametrize(
    ("nih", "database", "gate", "words"),
    [
        pytest.param(
            APART, APART, "pass",
            "COVID-19 database: 0 of 5 known patients have images in two splits or more, with 0 of "
            "2 test images",
            id="all known, none shared",
        ),
        pytest.param(
            {"train": "12", "val": "3", "test": "14"}, APART, "fail",
            "ChestX-ray14: 1 of 4 known patients have images in two splits or more, with 1 of 2 "
            "test images",
            id="shared in ChestX-ray14",
        ),
        pytest.param(
            APART, {"train": "12", "val": "3", "test": "114"}, "report",
            "COVID-19 database: 1 of 4 known patients have images in two splits or more, with 2 of "
            "3 test images",
            id="shared in the database",
        ),
        pytest.param(
            APART, {"train": "11", "val": "1", "test": "4", "excluded": "4"}, "report",
            "COVID-19 database: 1 of 2 known patients have images in two splits or more, with 0 of "
            "1 test images",
            id="shared by train and val, excluded images don't count",
        ),
        pytest.param(
            APART, {"train": "1?", "val": "?", "test": "4?"}, "report",
            "the patient of 3 of 5 images is not known", id="some unknown",
        ),
        pytest.param(
            APART, {"train": "??", "val": "?", "test": "??"}, "report",
            "COVID-19 database: the patient of none of its 5 images is known, so that whether one "
            "is in two splits can't be said",
            id="no patient known",
        ),
        pytest.param(
            APART, {"train": "", "excluded": "12"}, "report", "of none of its 0 images",
            id="no image used",
        ),
        pytest.param(
            {"train": "1?", "test": "2"}, APART, "report",
            "the patient of 1 of 3 images is not known", id="an unknown one in ChestX-ray14",
        ),
    ],
)  # fmt: skip
def test_patients(tmp_path, nih, database, gate, words):
    result, found = patients_finding(tmp_path, nih, database)
    assert words in result
    assert found == gate


def test_patients_by_their_picture_in_chestxray14(tmp_path):
    """Two images whose patient nobody named are of one patient of ChestX-ray14."""
    pairs = {
        "image": ["database0", "database1"], "chestxray14_image": ["nih0", "nih1"],
        "same_picture": [True, True],
    }  # fmt: skip
    nih = {"train": "77", "val": "8"}
    result, gate = patients_finding(tmp_path, nih, {"train": "?", "test": "?", "val": "?"}, pairs)
    assert gate == "report"
    assert "COVID-19 database: 1 of 1 known patients have images in two splits or more" in result
    assert "with 1 of 1 test images; the patient of 1 of 3 images is not known" in result


@pytest.mark.parametrize(
    ("same", "other"), [(False, "nih0"), (True, "nih2")], ids=["looks alike", "two patients"]
)
def test_chance_makes_no_known_patient(tmp_path, same, other):
    """An image that only looks alike, and one that is the picture of two patients."""
    pairs = {
        "image": ["database0"] * 2, "chestxray14_image": ["nih0", other],
        "same_picture": [same, same],
    }  # fmt: skip
    nih = {"train": "77", "val": "8"}
    result, _ = patients_finding(tmp_path, nih, {"train": "?", "test": "?"}, pairs)
    assert "COVID-19 database: the patient of none of its 2 images is known" in result


def select(folder, **changes):
    """Result and gate of a study of a train, a val and two test images, the latter t and u."""
    given = {
        "train": "a", "val": "b", "sha256": list("1234"), "pairs": [], "losses": [0.5, 0.2, 0.3],
        "pretraining": {"netA": "none"}, "splits": ["train", "val", "test", "test"],
    } | changes  # fmt: skip
    split = write(
        folder / "s.csv", image=list("abtu"), split=given["splits"], sha256=given["sha256"]
    )
    tables = [write(folder / f"{part}.csv", image=list(given[part])) for part in ("train", "val")]
    pairs = pairs_table(folder / "pairs.csv", *given["pairs"])
    nih = write(folder / "nih.csv", image=["n1", "n2", "n3"], split=["train", "val", "test"])
    histories = []
    for net in given["pretraining"]:
        histories.append(folder / net / "phase1" / "history.csv")
        histories[-1].parent.mkdir(parents=True)
        write(histories[-1], epoch=[1, 2, 3], val_loss=given["losses"])
    out = folder / "audits" / "selection.csv"
    audit_selection(histories, *tables, split, pairs, nih, given["pretraining"], outputs(out))
    return finding(out)


SEEN_THERE = [("t", "n1"), ("u", "n2")]


@pytest.mark.parametrize(
    ("changes", "gate", "words"),
    [
        pytest.param({}, "pass", "netA: 0 of 2. Training keeps the epoch", id="nothing"),
        pytest.param(
            {"train": "at"}, "fail", "netA: 1 of 2 (1 trained on)", id="trained on, by name"
        ),
        pytest.param(
            {"val": "bu"}, "fail", "netA: 1 of 2 (1 validated on)", id="validated on, by name"
        ),
        pytest.param(
            {"sha256": list("1214")}, "fail", "netA: 1 of 2 (1 trained on)", id="by its bytes"
        ),
        pytest.param(
            {"pairs": SEEN_THERE, "pretraining": {"netB": "here"}}, "fail",
            "netB: 2 of 2 (1 trained on in ChestX-ray14, 1 validated on in ChestX-ray14)",
            id="pretrained on",
        ),
        pytest.param(
            {"pairs": [("t", "n3")], "pretraining": {"netB": "here"}}, "pass", "netB: 0 of 2",
            id="in ChestX-ray14's test split",
        ),
        pytest.param(
            {"pairs": [("a", "n1")], "pretraining": {"netB": "here"}}, "pass", "netB: 0 of 2",
            id="a training image was pretrained on",
        ),
        pytest.param({"pairs": SEEN_THERE}, "pass", "netA: 0 of 2.", id="not pretrained"),
        pytest.param(
            {"pairs": SEEN_THERE, "pretraining": {"netD": "elsewhere"}}, "report",
            "netD: 0 of 2; of 2 others, which are in ChestX-ray14, it is not known: pretrained "
            "elsewhere",
            id="pretrained elsewhere",
        ),
        pytest.param(
            {"pretraining": {"netD": "elsewhere"}}, "pass", "netD: 0 of 2.",
            id="pretrained elsewhere, on none of these",
        ),
        pytest.param(
            {"splits": ["train", "val", "excluded", "excluded"]}, "report",
            "there is no test image, so that nothing can be said", id="no test image",
        ),
        pytest.param(
            {"losses": [np.nan] * 3}, "report",
            "In 1 of 1 phases no validation loss is a number", id="no validation loss",
        ),
    ],
)  # fmt: skip
def test_selection(tmp_path, changes, gate, words):
    result, found = select(tmp_path, **changes)
    assert words in result
    assert found == gate


def test_selection_tells_of_each_net(tmp_path):
    nets = {"netA": "none", "netB": "here", "netC": "here", "netD": "elsewhere"}
    result, gate = select(tmp_path, pairs=[("t", "n1")], pretraining=nets)
    assert gate == "fail"
    assert "netA: 0 of 2. netB, netC: 1 of 2 (1 trained on in ChestX-ray14). netD: 0 of 2" in result
    table = pd.read_csv(tmp_path / "audits/selection.csv").set_index("net")
    assert table.kept_epoch.tolist() == [2] * 4
    assert table.pretraining_trained_on.tolist() == [0, 1, 1, 0]
    assert table.not_known.tolist() == [0, 0, 0, 1]


def test_selection_wants_to_know_where_a_net_was_pretrained(tmp_path):
    with pytest.raises(InputError, match="--pretraining: found 'home' for netA, expected one of"):
        select(tmp_path, pretraining={"netA": "home"})


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


def duplicates_finding(folder, *pairs, given=True):
    """Result, gate and scores of a net that has eight of ten images of each class right.

    pairs: (image, duplicate, class, duplicate_class); x and y are train images, z is excluded.
    """
    names = [f"{name}{place}" for name in CLASSES for place in range(10)]
    predictions(folder / "netA.csv", 8)
    split = write(
        folder / "split.csv", image=[*names, *"xyz"],
        split=["test"] * 30 + ["train"] * 2 + ["excluded"],
    )  # fmt: skip
    table = pd.DataFrame(pairs, columns=["image", "duplicate", "class", "duplicate_class"])
    table.to_csv(folder / "d.csv", index=False)
    out = folder / "audits" / "duplicates.csv"
    audit_duplicates(
        split, {"netA": folder / "netA.csv"}, outputs(out), folder / "scores.csv",
        folder / "d.csv" if given else None,
    )  # fmt: skip
    scores = pd.read_csv(folder / "scores.csv").set_index("images")
    assert scores.accuracy["all"] == pytest.approx(24 / 30)
    return *finding(out), scores


def test_duplicates_in_train_and_test(tmp_path):
    """Two test images that are right only as they were seen in training."""
    result, gate, scores = duplicates_finding(
        tmp_path, ("normal0", "x", "normal", "normal"), ("x", "covid191", "normal", "covid19")
    )
    assert gate == "report"
    assert result == (
        "2 of 2 pairs of duplicates lie across splits, 1 across classes; 2 of 30 test images have "
        "a duplicate in train or val; on the 28 others accuracies differ by -0.014"
    )
    assert scores.accuracy["without"] == pytest.approx(22 / 28)


@pytest.mark.parametrize(
    "pairs", [[("x", "y")], [("normal0", "z")], []], ids=["in train", "excluded", "none"]
)
def test_duplicates_that_no_net_was_helped_by(tmp_path, pairs):
    pairs = [(*images, "normal", "normal") for images in pairs]
    result, gate, scores = duplicates_finding(tmp_path, *pairs)
    assert gate == "pass"
    assert "0 of 30 test images have a duplicate in train or val" in result
    assert scores.accuracy["without"] == scores.accuracy["all"]


def test_duplicates_of_all_test_images(tmp_path):
    names = [(f"{name}{place}", name) for name in CLASSES for place in range(10)]
    result, gate, _ = duplicates_finding(tmp_path, *((image, "x", c, c) for image, c in names))
    assert gate == "report"
    assert "what the accuracy is without them can't be said, none is left" in result


def test_duplicates_without_a_table_are_not_known(tmp_path):
    result, gate, _ = duplicates_finding(tmp_path, given=False)
    assert gate == "report"
    assert result == "no table of duplicates was given, so that whether there are any can't be said"


def sources_finding(folder, urls, classes):
    """Result of images of these pages and classes; an image without a page has no row."""
    images = [f"{number}" for number in range(len(classes))]
    known = [number for number, url in enumerate(urls) if url is not None]
    metadata = write(
        folder / "m.csv", image=[images[n] for n in known], url=[urls[n] for n in known]
    )
    splits = {"image": images, "class": classes, "split": "train"}
    out = folder / "audits" / "sources.csv"
    audit_sources(metadata, write(folder / "s.csv", **splits), outputs(out))
    result, gate = finding(out)
    assert gate == "report"
    return result


@pytest.mark.parametrize("mixed", [False, True])
def test_sources(tmp_path, mixed):
    classes = [CLASSES[number % 3] for number in range(30)]
    hosts = ["a.org", "b.org"]
    urls = [f"https://www.{hosts[n % 2 if mixed else n % 3 == 2]}/{n}" for n in range(28)]
    result = sources_finding(tmp_path, [*urls, "", None], classes)
    assert "the source of 2 of 30 images is not known" in result
    assert result.startswith("0 of 28 images" if mixed else "9 of 28 images")
    value = float(result.split("class and source ")[1][:4])
    assert value < 0.2 if mixed else value > 0.9


@pytest.mark.parametrize(
    ("urls", "classes", "words"),
    [
        ([""], ["normal"], "the source of none of 1 images is known"),
        ([], [], "the source of none of 0 images is known"),
        (["http://a.org/1"] * 2, ["normal", "covid19"], "are of one source,"),
        (["http://a.org/1", "http://b.org"], ["normal"] * 2, "are of one class,"),
        (["http://a.org/1"], ["normal"], "are of one source and one class,"),
    ],
    ids=["unknown", "no images", "one source", "one class", "one of both"],
)  # fmt: skip
def test_sources_that_tell_nothing_are_said(tmp_path, urls, classes, words):
    result = sources_finding(tmp_path, urls, classes)
    assert words in result
    assert "can't be said" in result


@pytest.mark.parametrize("planted", [False, True])
def test_text(tmp_path, out, planted):
    """A net that gives its right decisions up once text is covered."""
    unedited = predictions(None, 10, "unedited")
    edited = predictions(None, 5 if planted else 10, "edited")
    pd.concat([edited, unedited]).to_csv(tmp_path / "netA.csv", index=False)
    boxes = write(tmp_path / "boxes.csv", image=[f"covid19{n}" for n in range(10)])
    audit_text(boxes, {"netA": tmp_path / "netA.csv"}, 0, outputs(out))
    result, gate = finding(out)
    row = pd.read_csv(out).iloc[0]
    assert gate == "report"
    assert result == (
        "letters or words are in 0 of 10 normal, 0 of 10 viral_pneumonia, 10 of 10 covid19 test "
        f"images; covering them changes {5 if planted else 0} of 10 decisions of a net"
    )
    assert row.images_with_text == 10
    assert row.changed_decisions == (5 if planted else 0)
    assert row.change == pytest.approx(-0.425 if planted else 0)
    assert np.isnan(row.change_high), "ten images are too few for an interval"


def test_text_in_a_class_without_test_images(tmp_path, out):
    tables = [predictions(None, 10, version) for version in ("edited", "unedited")]
    table = pd.concat(tables)
    table[table["class"] != "normal"].to_csv(tmp_path / "netA.csv", index=False)
    audit_text(
        write(tmp_path / "b.csv", image=["covid190"]), {"netA": tmp_path / "netA.csv"}, 0,
        outputs(out),
    )  # fmt: skip
    assert "0 of 0 normal, 0 of 10 viral_pneumonia, 1 of 10 covid19" in finding(out)[0]


def test_text_that_no_image_has_is_said(tmp_path, out):
    tables = [predictions(None, 10, version) for version in ("edited", "unedited")]
    pd.concat(tables).to_csv(tmp_path / "netA.csv", index=False)
    nets = {name: tmp_path / "netA.csv" for name in ("netA", "netB")}
    audit_text(write(tmp_path / "boxes.csv", image=[]), nets, 0, outputs(out))
    result, gate = finding(out)
    assert gate == "report"
    assert result.startswith("none of 30 test images has a box around letters or words")
    assert result.endswith("can't be said")
    assert pd.read_csv(out).change.isna().all()


def image_set(path, pixels, classes, **columns):
    """An image set whose table is not beside the array under its name."""
    names = [f"{path.stem}{number}.png" for number in range(len(pixels))]
    save_images(path, pixels, pd.DataFrame({"image": names, "class": classes, **columns}))
    table = path.with_name(f"{path.stem}_table.csv")
    path.with_suffix(".csv").rename(table)
    return ImageSet(path, table)


def pretraining_finding(folder, nih, database):
    """Result, gate and pairs of two sets of images."""
    array, table = image_set(folder / "nih.npy", nih, "none")
    database, classes = image_set(folder / "covid19.npy", database, "normal")
    out = folder / "audits" / "pretraining.csv"
    audit_pretraining([array], [table], [database], [classes], 3, 0.9, 0.7, outputs(out))
    return *finding(out), pd.read_csv(out)


@pytest.fixture
def pictures():
    """Twelve pictures that don't look alike."""
    coarse = np.random.default_rng(0).integers(0, 200, (12, 8, 8)).astype(np.uint8)
    return coarse.repeat(8, axis=1).repeat(8, axis=2)


@pytest.mark.parametrize(
    ("planted", "gate", "n_same", "n_alike"),
    [("nothing", "pass", 0, 0), ("brighter", "report", 1, 0), ("noisy", "report", 0, 1)],
)
def test_pretraining(tmp_path, pictures, planted, gate, n_same, n_alike):
    """A brighter copy of an image of ChestX-ray14 in the database, or one that looks alike."""
    database = pictures[8:].copy()
    if planted == "brighter":
        database[2] = pictures[5] + 20
    if planted == "noisy":
        noise = np.random.default_rng(1).integers(0, 40, (16, 16)).astype(np.uint8)
        database[2] = pictures[5] // 2 + noise.repeat(4, axis=0).repeat(4, axis=1)
    result, found, pairs = pretraining_finding(tmp_path, pictures[:8], database)
    assert result == (
        f"{n_same} of 4 images of the COVID-19 database are the same picture as one of 8 images of "
        f"ChestX-ray14 (correlation 0.9 or more); {n_alike} others look like one (0.7 or more), "
        "perhaps of the same patient"
    )
    assert found == gate
    expected = [] if planted == "nothing" else [("covid192.png", "nih5.png", bool(n_same))]
    columns = (pairs.image, pairs.chestxray14_image, pairs.same_picture)
    assert list(zip(*columns, strict=True)) == expected


@pytest.mark.parametrize("empty", ["database", "archive"])
def test_pretraining_without_images_is_not_known(tmp_path, pictures, empty):
    sets = (pictures[:0] if empty == "archive" else pictures[:8], pictures[8:])
    result, gate, pairs = pretraining_finding(
        tmp_path, sets[0], sets[1][:0] if empty == "database" else sets[1]
    )
    assert gate == "report"
    assert result.endswith("so that whether one is in both can't be said")
    assert pairs.empty


def test_pretraining_wants_a_table_for_each_array(tmp_path, pictures):
    array, table = image_set(tmp_path / "nih.npy", pictures, "none")
    with pytest.raises(InputError, match="1 arrays, but 2 tables; expected one each"):
        audit_pretraining(
            [array], [table] * 2, [array], [table], 3, 0.9, 0.7, outputs(tmp_path / "o.csv")
        )


def nuisance(folder, border=0, size=0, classes=None, trained=None):
    """Arguments of audit_nuisance: noise whose border, or whose file's size, tells the class."""
    rng = np.random.default_rng(0)
    image_sets, manifest = [], []
    for name in ("train", "val", "test"):
        there = classes if name == "test" else trained
        numbers = np.arange(60) % 3 if there is None else np.array(there, int)
        n = len(numbers)
        pixels = rng.integers(100, 156, (n, SIZE, SIZE)).astype(np.uint8)
        if border:
            pixels[:, :2] = (numbers * border)[:, None, None]
        image_sets.append(image_set(folder / f"{name}.npy", pixels, np.array(CLASSES)[numbers]))
        files = {"image": [f"{name}{n}.png" for n in range(n)], "bytes": 1000 + size * numbers}
        manifest.append(pd.DataFrame(files | {"mode": "L", "width": 64, "height": 64, "tint": 0.0}))
    pd.concat(manifest).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv", *image_sets


@pytest.mark.parametrize("planted", ["nothing", "border", "file"])
def test_nuisance(tmp_path, out, planted):
    given = {"border": {"border": 60}, "file": {"size": 500}}.get(planted, {})
    audit_nuisance(*nuisance(tmp_path, **given), 0, outputs(out))
    scores = pd.read_csv(out).set_index("from").balanced_accuracy
    result, gate = finding(out)
    assert gate == "report"
    assert result.startswith(f"of 60 test images a linear model has {scores.max():.0%} right")
    assert "(mean over 3 classes; chance 33%)" in result
    if planted == "nothing":
        assert scores.max() < 0.55
    else:
        assert scores[planted] > 0.95
        assert f"from the {scores.idxmax()} only, the best of 4 kinds of input" in result


def test_nuisance_without_test_images_of_a_class(tmp_path, out):
    audit_nuisance(*nuisance(tmp_path, border=60, classes=[0, 2] * 10), 0, outputs(out))
    result, gate = finding(out)
    assert gate == "report"
    assert (
        "of 20 test images a linear model has 100% right (mean over 2 classes; chance 50%)"
        in result
    )
    assert result.endswith("; there is no test image of viral_pneumonia")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": []}, "120 train and val images of 3 classes and 0 test images"),
        ({"trained": [0] * 9}, "18 train and val images of 1 classes and 60 test images"),
        ({"trained": []}, "0 train and val images of 0 classes and 60 test images"),
    ],
)
def test_nuisance_that_cannot_be_learnt_is_said(tmp_path, out, given, words):
    audit_nuisance(*nuisance(tmp_path, **given), 0, outputs(out))
    result, gate = finding(out)
    assert gate == "report"
    assert result.startswith(words) and result.endswith("tells the class can't be said")


def test_nuisance_without_a_row_of_an_image_is_an_error(tmp_path, out):
    manifest, *rest = nuisance(tmp_path)
    pd.read_csv(manifest).iloc[1:].to_csv(manifest, index=False)
    with pytest.raises(InputError, match=r"manifest\.csv: no row for image 'train0.png'"):
        audit_nuisance(manifest, *rest, 0, outputs(out))


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


@pytest.fixture
def load(monkeypatch):
    """A function that makes the audits load a net that reads a region."""

    def load(region):
        loaded = Brightness(region), {"outputs": CLASSES}
        for module in ("audit_regions", "audit_adults"):
            monkeypatch.setattr(f"{module}.load_net", lambda _: loaded)

    return load


NORMAL_AND_COVID19 = ["normal"] * 10 + ["covid19"] * 10


@pytest.mark.parametrize("planted", [False, True])
def test_regions(tmp_path, out, load, planted):
    """A net that reads the border alone keeps its accuracy without lungs; one of lungs doesn't.

    Nor does a new output layer help it.
    """
    inside = ellipse(SIZE)
    region = ~inside if planted else inside
    pixels = np.full((20, SIZE, SIZE), 60, np.uint8)
    pixels[10:, region] = 250
    images = image_set(tmp_path / "t.npy", pixels, NORMAL_AND_COVID19)
    load(region)
    audit_regions({"netA": None}, images, images, 0, outputs(out))
    found = pd.read_csv(out).set_index("region")
    table = found.accuracy[found.output_layer == "as trained"]
    new = found.accuracy[found.output_layer == "trained anew"]
    result, gate = finding(out)
    assert gate == "report"
    without, only = ("100%", "50%") if planted else ("50%", "100%")
    assert result == (
        "mean accuracy of the nets (1) on 20 test images 100% (50% are of one class); with the "
        f"lungs (ellipse) blacked out {without}; with all else blacked out {only}. With "
        f"a new output layer, trained on such images, {without} and {only}"
    )
    assert table["all"] == new["all"] == 1
    assert table["without lungs" if planted else "lungs alone"] == 1
    assert table["lungs alone" if planted else "without lungs"] == 0.5
    assert new["without lungs" if planted else "lungs alone"] == 1
    assert new["lungs alone" if planted else "without lungs"] == 0.5


def test_regions_that_a_new_output_layer_can_use(tmp_path, out, load):
    """A net that decides wrongly without lungs, though what it sees there tells the class."""
    pixels = np.full((20, SIZE, SIZE), 60, np.uint8)
    pixels[10:] = 90
    images = image_set(tmp_path / "t.npy", pixels, NORMAL_AND_COVID19)
    load(np.ones((SIZE, SIZE), bool))
    audit_regions({"netA": None}, images, images, 0, outputs(out))
    found = pd.read_csv(out).set_index(["output_layer", "region"]).accuracy
    assert found["as trained", "without lungs"] == 0.5
    assert found["trained anew", "without lungs"] == 1
    assert "With a new output layer, trained on such images, 100%" in finding(out)[0]


def test_regions_without_test_images_are_not_known(tmp_path, out, load):
    pixels = np.zeros((20, SIZE, SIZE), np.uint8)
    train = image_set(tmp_path / "t.npy", pixels, NORMAL_AND_COVID19)
    load(ellipse(SIZE))
    audit_regions(
        {"netA": None}, train, image_set(tmp_path / "e.npy", pixels[:0], []), 0, outputs(out)
    )
    result, gate = finding(out)
    assert gate == "report"
    assert result.startswith("there is no test image, so that")


def test_regions_of_one_class_have_no_new_output_layer(tmp_path, out, load):
    pixels = np.full((20, SIZE, SIZE), 60, np.uint8)
    images = image_set(tmp_path / "t.npy", pixels, NORMAL_AND_COVID19)
    train = image_set(tmp_path / "train.npy", pixels, "normal")
    load(ellipse(SIZE))
    audit_regions({"netA": None}, train, images, 0, outputs(out))
    result, gate = finding(out)
    assert gate == "report"
    assert result.endswith("A new output layer can't be trained: train images are of one class")


def relevance_finding(folder, maps, classes):
    """Of maps by the method that is put in words; by another, nothing is relevant inside."""
    other = np.where(ellipse(SIZE), -1.0, 1.0)[None].repeat(len(maps), axis=0)
    np.savez(folder / "maps.npz", grad_cam=other, preset_a_flat_conserving=maps)
    names = [f"{number}" for number in range(len(classes))] * 2
    methods = ["grad_cam"] * len(classes) + ["preset_a_flat_conserving"] * len(classes)
    table = write(folder / "t.csv", image=names, method=methods, **{"class": [*classes] * 2})
    audit_relevance(folder / "maps.npz", table, 0, outputs(folder / "audits" / "relevance.csv"))
    return finding(folder / "audits" / "relevance.csv")


@pytest.mark.parametrize("planted", [False, True])
def test_relevance(tmp_path, planted):
    maps = np.where(ellipse(SIZE) != planted, 1.0, 0.1)[None].repeat(6, axis=0)
    maps[:, 0, 0] = -1000  # what speaks against doesn't count
    result, gate = relevance_finding(tmp_path, maps, [*CLASSES] * 2)
    assert gate == "report"
    table = pd.read_csv(tmp_path / "audits/relevance.csv")
    assert (table[table.method == "grad_cam"].share_inside == 0).all()
    shares = table[table.method != "grad_cam"].share_inside.to_numpy()
    assert (shares < 0.2).all() if planted else (shares > 0.85).all()
    expected = ", ".join(f"{shares[0]:.0%} for {name} (n = 2)" for name in CLASSES)
    assert result == (
        f"of the relevance for a decision by LRP (conserving), on average {expected} lies in the "
        "lungs (ellipse, 48% of the area)"
    )


def test_relevance_that_is_missing_is_said(tmp_path):
    """Of four decisions for normal and two for COVID-19, two and both have no relevance."""
    maps = np.ones((6, SIZE, SIZE))
    maps[2:] = -1
    result, gate = relevance_finding(tmp_path, maps, ["normal"] * 4 + ["covid19"] * 2)
    assert gate == "report"
    assert "for normal (n = 2) lies in" in result
    assert "4 of 6 images have no relevance for their decision" in result
    assert result.endswith("of viral_pneumonia and covid19 nothing can be said")


@pytest.mark.parametrize("n", [0, 2])
def test_relevance_of_nothing_is_not_known(tmp_path, n):
    result, gate = relevance_finding(tmp_path, np.zeros((n, SIZE, SIZE)), ["normal"] * n)
    assert gate == "report"
    assert result.startswith(
        f"none of {n} test images has relevance by LRP (conserving) that speaks"
    )
    assert result.endswith("can't be said")


def adults_finding(folder, people, pairs=(), most=9, pretraining=None, net="netA", brightness=250):
    """Result of people: (patient, age as the label table writes it), an image each, a.png first."""
    names = [f"{'abcdefgh'[number]}.png" for number in range(len(people))] + ["z.png"]
    pixels = np.full((len(names), SIZE, SIZE), brightness, np.uint8)
    save_images(folder / "a.npy", pixels, pd.DataFrame({"image": names}))
    patients, ages = [list(column) for column in zip(*people, (99, "40"), strict=True)]
    split = write(
        folder / "split.csv",
        **{
            "image": names, "patient_id": patients, "split": "test",
            "No Finding": [1] * len(people) + [0],
        },
    )  # fmt: skip
    labels = write(folder / "labels.csv", **{"Image Index": names, "Patient Age": ages})
    covid19 = write(folder / "c.csv", image=list("tvx"), split=["train", "val", "test"])
    audit_adults(
        {net: None}, [folder / "a.npy"], [folder / "a.csv"], split, labels,
        pairs_table(folder / "p.csv", *pairs), covid19, pretraining or {net: "none"}, most, 0,
        outputs(folder / "audits" / "adults.csv"),
    )  # fmt: skip
    result, gate = finding(folder / "audits" / "adults.csv")
    assert gate == "report"
    return result


EIGHT = [(number, "058Y") for number in range(8)]


@pytest.mark.parametrize("planted", [False, True])
def test_adults(tmp_path, load, planted):
    load(np.ones((SIZE, SIZE), bool))
    result = adults_finding(tmp_path, EIGHT, most=5, brightness=250 if planted else 10)
    assert result == (
        f"of 5 adults without a finding, one image each, a net calls {'100%' if planted else '0%'} "
        "COVID-19; left out of 8 No Finding test images of ChestX-ray14: 3 beyond the number asked "
        "for"
    )


@pytest.mark.parametrize(
    ("people", "pairs", "n", "left_out"),
    [
        pytest.param(EIGHT, [], 8, ": none", id="all adults"),
        pytest.param([*EIGHT[:5], (5, "10"), (6, "017Y"), (7, "011M")], [], 5,
                     "3 of people under 18", id="children"),
        pytest.param([*EIGHT[:5], (5, "18"), (6, "216M"), (7, "6575D")], [], 8, ": none",
                     id="just 18"),
        pytest.param([*EIGHT[:5], (5, ""), (6, "414"), (7, "-3")], [], 5, "3 of unknown age",
                     id="unknown and impossible ages"),
        pytest.param([*EIGHT[:5], (0, "58"), (0, "59"), (1, "58")], [], 5,
                     "3 further images of the same people", id="several images"),
        pytest.param(EIGHT, [("t", "a.png"), ("v", "b.png"), ("x", "c.png"), ("t", "a.png")], 6,
                     "2 that nets were trained or validated on", id="seen"),
        pytest.param([(0, "58"), (0, "58")], [("t", "a.png")], 1,
                     "1 that nets were trained or validated on", id="a second image, not seen"),
        pytest.param([(0, "9"), (1, "58"), (1, "58"), (2, "58")], [("t", "a.png")], 2,
                     "1 that nets were trained or validated on, 1 further images of the same "
                     "people",
                     id="several reasons"),
    ],
)  # fmt: skip
def test_adults_are_adults_that_no_net_saw_once_each(tmp_path, load, people, pairs, n, left_out):
    load(np.ones((SIZE, SIZE), bool))
    result = adults_finding(tmp_path, people, pairs)
    assert result.startswith(f"of {n} adults without a finding, one image each")
    assert result.endswith(left_out)
    assert (pd.read_csv(tmp_path / "audits/adults.csv").n == n).all()


@pytest.mark.parametrize("people", [[], [(0, "9")], [(0, "")]])
def test_adults_without_any_are_not_known(tmp_path, people):
    result = adults_finding(tmp_path, people)
    assert result.startswith("no adult without a finding is left, so that nothing can be said")
    assert f"left out of {len(people)} No Finding test images" in result
    assert pd.read_csv(tmp_path / "audits/adults.csv").empty


def test_adults_that_a_net_may_have_seen_elsewhere(tmp_path, load):
    load(np.ones((SIZE, SIZE), bool))
    result = adults_finding(tmp_path, EIGHT, pretraining={"netD": "elsewhere"}, net="netD")
    assert result.endswith(
        "whether the pretraining of netD, done elsewhere, saw the others is not known"
    )


@pytest.mark.parametrize(
    ("text", "age"),
    [("058Y", 58), ("58", 58), ("58.0", 58), (" 058y ", 58), ("018M", 1.5), ("000D", 0),
     ("120", 120), ("121", None), ("414", None), ("", None), ("-1", None), ("NA", None),
     ("nan", None), ("58X", None)],
)  # fmt: skip
def test_ages_of_the_label_table(text, age):
    assert years(text) == age if age is not None else np.isnan(years(text))


def test_findings_are_collected_and_a_failure_stops_a_strict_run(tmp_path):
    paths = []
    for name, gate in (("patients", "fail"), ("text", "report")):
        save_audit(
            outputs(tmp_path / f"{name}.csv"), pd.DataFrame({"a": [1]}), f"about {name}", gate
        )
        paths.append(tmp_path / f"{name}.finding.csv")
    collect_audits(paths, False, tmp_path / "audits.csv")
    table = pd.read_csv(tmp_path / "audits.csv")
    assert list(table.columns) == ["audit", "result", "gate"]
    assert list(table.gate) == ["fail", "report"]
    with pytest.raises(InputError, match="1 audits failed; the first is patients: about patients"):
        collect_audits(paths, True, tmp_path / "strict.csv")
    assert not (tmp_path / "strict.csv").exists()
