"""A planted shortcut: what is drawn at a dose, and what nets, heatmaps and audits make of it."""

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")
from cxr.data.image_sets import ImageSet, open_by_class, open_images
from cxr.data.images import word_box
from cxr.nets.torch_nets import save_net
from draw_shortcut import draw_shortcut
from measure_shortcut import describe, measure_shortcut, seen_from, shares
from measure_word import with_word
from predict import predict
from small_trainings import CLASSES, CPU, new_net
from test_measure_word import Reader

SIZE = 64
PLACE = ("SEDUTO", (0.6, 0.03), 0.08)
WORD_BOX = word_box(SIZE, *PLACE)
PER_CLASS = {"train": 2, "val": 2, "test": 20}


def draw(folder, dose, per_class=PER_CLASS):
    sets = {name: ImageSet.of(folder / f"{name}.npy") for name in PER_CLASS}
    clean = ImageSet.of(folder / "clean.npy")
    lists = folder / "manifest.csv", folder / "boxes.csv"
    draw_shortcut(dose, per_class, SIZE, 0.5, PLACE, 0, sets, clean, *lists)
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    return {dose: draw(tmp_path_factory.mktemp("dose"), dose) for dose in (0, 50, 90, 100)}


@pytest.mark.parametrize(
    "dose, told, others", [(0, 10, 10), (50, 15, 5), (90, 19, 1), (100, 20, 0)]
)
def test_words_by_dose(drawn, dose, told, others):
    _, table = open_images(drawn[dose] / "test.npy")
    assert table.groupby("class").word.sum().to_dict() == {
        "covid19": told, "normal": others, "viral_pneumonia": others
    }  # fmt: skip


def test_doses_differ_in_words_alone(drawn):
    left, top, right, bottom = word_box(SIZE, *PLACE)
    outside = np.ones((SIZE, SIZE), bool)
    outside[top:bottom, left:right] = False
    clear, _ = open_images(drawn[0] / "clean.npy")
    had = None
    for dose, folder in drawn.items():
        assert (folder / "clean.npy").read_bytes() == (drawn[0] / "clean.npy").read_bytes()
        pixels, table = open_images(folder / "test.npy")
        word = table.word.to_numpy(bool)
        assert (pixels[:, outside] == clear[:, outside]).all()
        assert ((pixels != clear).any(axis=(1, 2)) == word).all()
        boxes = pd.read_csv(folder / "boxes.csv")
        assert list(boxes.image) == list(table.image[word])
        assert (boxes[["x0", "y0", "x1", "y1"]] == (left, top, right, bottom)).all(axis=None)
        told = (table["class"] == "covid19").to_numpy()
        if dose:
            assert (word >= had)[told].all() and (word <= had)[~told].all()
        had = word


def test_same_bytes_again(drawn, tmp_path):
    draw(tmp_path, 50)
    for path in drawn[50].iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


AUDITED = {  # what measure_shortcut reads of the tables of audits, at doses 0 and 100
    "text": [{"change": 0.01, "change_low": -0.1, "change_high": 0.1},
             {"change": -0.9, "change_low": -0.95, "change_high": -0.8}],
    "nuisance": [{"balanced_accuracy": 0.4, "accuracy_low": 0.3, "accuracy_high": 0.5},
                 {"balanced_accuracy": 0.55, "accuracy_low": 0.45, "accuracy_high": 0.6}],
    "regions": [{"region": "without lungs", "output_layer": "trained anew", "accuracy": 0.5,
                 "accuracy_low": 0.4, "accuracy_high": 0.6}] * 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def measured(drawn, tmp_path_factory):
    """Tables of measure_shortcut, of nets of random weights, and of audits as they are written."""
    out = tmp_path_factory.mktemp("measured")
    doses, nets, predictions, tables, findings = (0, 100), [], [], {}, {}
    description = {"architecture": "squeezenet1_1", "outputs": CLASSES, "image_size": SIZE}
    for place, dose in enumerate(doses):
        folder = drawn[dose]
        nets.append(folder / "net.safetensors")
        save_net(nets[-1], new_net(description["architecture"]), description)
        predictions.append(folder / "predictions.csv")
        clean, test = folder / "clean.npy", folder / "test.npy"
        predict(nets[-1:], clean, test, folder / "val.npy", predictions[-1], folder / "logits.csv")
        for audit, rows in AUDITED.items():
            tables[dose, audit] = folder / f"{audit}.csv"
            pd.DataFrame([rows[place]]).to_csv(tables[dose, audit], index=False)
            findings[dose, audit] = folder / f"{audit}.finding.csv"
            found = pd.DataFrame([{"audit": audit, "result": f"{audit}, so", "gate": "report"}])
            found.to_csv(findings[dose, audit], index=False)
    names = ("curves.csv", "audits.csv", "finding.csv", "figure.svg")
    measure_shortcut(
        doses, nets, predictions, drawn[0] / "clean.npy", tables, findings,
        ["gradient_x_input", "edges", "random"], PLACE, 0, *(out / name for name in names),
    )  # fmt: skip
    assert (out / "figure.svg").stat().st_size
    return [pd.read_csv(out / name) for name in names[:3]]


def test_accuracies_are_those_of_the_predictions(drawn, measured):
    rows = measured[0][measured[0].kind == "accuracy"].set_index(["dose", "method"])
    for dose in (0, 100):
        table = pd.read_csv(drawn[dose] / "predictions.csv")
        right = (table["class"] == table.predicted).groupby(table.version).mean()
        assert rows.accuracy[dose, "clean"] == right["edited"]
        assert rows.accuracy[dose, "like_train"] == right["unedited"]
    assert (rows.n == 3 * PER_CLASS["test"]).all()


@pytest.mark.parametrize(
    ("box", "least", "most"), [(WORD_BOX, 0.99, 1), ((8, 30, 28, 50), 0, 0.01)]
)
def test_share_is_on_the_word_where_a_net_reads_it(drawn, box, least, most):
    worded = with_word(open_by_class(drawn[0] / "clean.npy", CLASSES), *PLACE)
    (row,) = shares(Reader(box), worded, ["gradient_x_input"], PLACE, CPU, 0)
    assert least <= round(row["share_on_word"], 6) <= most
    assert row["n"] == PER_CLASS["test"]


def test_methods_that_look_at_no_net_see_nothing(measured):
    curves, _, finding = measured
    rows = curves[curves.kind == "relevance"].set_index(["dose", "method"])
    for method in ("edges", "random"):  # they look at no net
        assert rows.share_on_word[100, method] == rows.share_on_word[0, method]
        assert not rows.seen[100, method]
    area = rows.share_of_area[0, "random"]
    assert rows.share_on_word[0, "random"] == pytest.approx(area, rel=0.2)
    assert not rows.seen[0].any()
    blind = finding.result[0].partition("that do not: ")[2].partition(".")[0]
    assert {"edges", "random"} <= set(blind.split(", "))


def test_an_audit_sees_what_lies_above_dose_0(measured):
    rows = measured[1].set_index(["dose", "audit"])
    assert list(rows.seen[100][["text", "nuisance", "regions"]]) == [True, False, False]
    assert not rows.seen[0].any()
    assert rows.value[100, "text"] == 0.9 and rows.result[100, "text"] == "text, so"


def test_dose_from_which_on_it_is_seen():
    def rows(*seen):
        return pd.DataFrame({"dose": (0, 50, 90, 100), "seen": seen})

    assert seen_from(rows(False, False, True, True)) == 90
    assert seen_from(rows(False, True, False, True)) == 100  # not for good from 50 on
    assert seen_from(rows(False, True, True, False)) is None


def test_finding_says_that_nothing_is_seen():
    curves = pd.DataFrame(
        [(0, "accuracy", "clean", 0.9, False), (0, "accuracy", "like_train", 0.95, False),
         (50, "accuracy", "clean", 0.5, False), (50, "accuracy", "like_train", 1, False),
         (0, "relevance", "edges", np.nan, False), (50, "relevance", "edges", np.nan, False)],
        columns=["dose", "kind", "method", "accuracy", "seen"],
    )  # fmt: skip
    audits = pd.DataFrame({"dose": [0, 50], "audit": "text", "seen": False})
    assert describe(curves, audits) == (
        "where the word tells the class in 0, 50 % of the images, nets are right on 90%, 50% of "
        "the test images without words, and on 95%, 100% of those like their training images. "
        "Methods that see the word: none; that do not: edges. "
        "Audits that see the word: none; that do not: text."
    )
