"""Whether heatmaps point at what is there: measures with planted truth, boxes, masks, the step."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("torch")
import localise
from cxr.cli import InputError
from cxr.data.chestxray14 import read_boxes
from cxr.data.image_sets import ImageSet, save_images
from cxr.data.images import to_square
from cxr.data.masks import read_masked, save_masked
from cxr.evaluation.intervals import mean_interval, proportion_interval
from cxr.evaluation.localisation import THRESHOLDS, localisation_table, measure_maps
from cxr.lrp.methods import BASELINES, heatmaps
from cxr.nets.torch_nets import create, save_net
from PIL import Image
from prepare_boxes import prepare_boxes
from prepare_masks import prepare_masks

MEANS = ("pointing_game", "relevance_mass", "rank_accuracy", "iou")
HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"


def squares(n, size=20):
    """Masks, bool (n, size, size), of a rectangle each, none of them near the middle."""
    masks = np.zeros((n, size, size), bool)
    for number in range(n):
        masks[number, 1 : 4 + number % 3, 12:18] = True
    return masks


# Measures


def test_a_map_that_is_the_mask_scores_1():
    masks = squares(3)
    found = measure_maps(np.where(masks, 2.0, -1.0), masks, 0.2)
    assert all((found[name] == 1).all() for name in (*MEANS, "iou_best"))
    assert not found["without_relevance"].any()


def test_a_map_beside_the_mask_scores_0():
    masks = squares(3)
    found = measure_maps(np.where(masks, -1.0, 2.0), masks, 0.2)
    assert all((found[name] == 0).all() for name in MEANS)


@pytest.mark.parametrize("value", [0.5, 0.0, -0.5])
def test_a_constant_map_scores_the_share_of_the_area_and_is_counted_if_it_speaks_for_nothing(value):
    masks = squares(3)
    found = measure_maps(np.full(masks.shape, value), masks, 0.2)
    for name in MEANS:
        assert found[name] == pytest.approx(masks.mean(axis=(1, 2)))
    assert (found["without_relevance"] == (value <= 0)).all()


def test_random_maps_score_the_share_of_the_area_on_average():
    masks = squares(400)
    found = measure_maps(np.random.default_rng(0).random(masks.shape), masks, 0.01)
    for name in MEANS:
        assert found[name].mean() == pytest.approx(masks.mean(), abs=0.02)


def test_measures_by_hand():
    relevance = np.array([[[4.0, -9.0, 1.0], [2.0, 2.0, 0.0], [0.0, 1.0, 0.0]]])
    mask = np.array([[[1, 1, 0], [1, 0, 0], [0, 0, 0]]], bool)
    found = measure_maps(relevance, mask, 0.5)
    assert found["pointing_game"] == 1
    assert found["relevance_mass"] == pytest.approx(6 / 10)
    assert found["rank_accuracy"] == pytest.approx(2 / 3), "of 4, 2 and 2 the mask has 4 and a 2"
    assert found["iou"] == pytest.approx(2 / 4), "4, 2 and 2 are at least half of 4"
    assert found["iou_best"][0, THRESHOLDS > 0.5] == pytest.approx(1 / 3)


def test_ties_count_as_chance_would_break_them():
    relevance = np.array([[[3.0, 3.0], [3.0, 1.0]]])
    found = measure_maps(relevance, np.array([[[True, False], [False, True]]]), 0.2)
    assert found["pointing_game"] == pytest.approx(1 / 3)
    assert found["rank_accuracy"] == pytest.approx(1 / 3), "2 of the three 3s, one in the mask"


@pytest.mark.parametrize(
    ("value", "masks"),
    [(np.nan, squares(2)), (1.0, squares(2).astype(int)), (1.0, squares(2)[:, :9]),
     (1.0, np.zeros((2, 20, 20), bool))],
    ids=["not finite", "not bool", "other shape", "empty"],
)  # fmt: skip
def test_what_can_t_be_measured_is_refused(value, masks):
    with pytest.raises(ValueError, match=r"empty mask|not finite"):
        measure_maps(np.full((2, 20, 20), value), masks, 0.2)


def test_measures_agree_with_quantus():
    quantus = pytest.importorskip("quantus")
    masks = squares(12)
    maps = np.random.default_rng(1).normal(size=masks.shape) + masks
    ours = measure_maps(maps, masks, 0.2)
    theirs = {
        "pointing_game": quantus.PointingGame,
        "relevance_mass": quantus.RelevanceMassAccuracy,
        "rank_accuracy": quantus.RelevanceRankAccuracy,
    }
    for name, metric in theirs.items():
        measure = metric(abs=False, normalise=False, disable_warnings=True)
        found = measure(
            model=None, x_batch=np.zeros((12, 1, 20, 20)), y_batch=np.zeros(12, int),
            a_batch=np.maximum(maps, 0)[:, None], s_batch=masks[:, None],
        )  # fmt: skip
        assert ours[name] == pytest.approx(np.array(found, float), abs=1e-6), name
        assert 0 < ours[name].mean() < 1


# Tables


def table_of(maps, masks, names, groups):
    scores = {method: measure_maps(found, masks, 0.2) for method, found in maps.items()}
    return localisation_table("class", names, groups, masks.mean(axis=(1, 2)), scores, seed=0)


def test_a_table_has_means_by_name_and_over_all():
    masks = squares(4)
    right, wrong = np.where(masks, 1.0, 0.0), np.where(masks, 0.0, 1.0)
    planted = np.concatenate([right[:3], wrong[3:]])
    flat = np.ones(masks.shape)
    found = table_of({"planted": planted, "gaussian": flat}, masks, ["b", "b", "a", "a"], range(4))
    assert found["class"].tolist() == ["b", "b", "a", "a", "all", "all"]
    assert found.n.tolist() == [2, 2, 2, 2, 4, 4]
    rows = found[found.method == "planted"]
    for name in (*MEANS, "iou_best", "beats_gaussian"):
        assert rows[name].tolist() == pytest.approx([1, 0.5, 0.75], abs=0.1), name
    assert table_of({"none": 0 * flat, "gaussian": flat}, masks, ["a"] * 4, range(4)).loc[
        0, ["beats_gaussian", "without_relevance"]
    ].tolist() == [0, 4]
    others = found[found.method == "gaussian"]
    assert (others.beats_gaussian == 0.5).all()
    assert others.relevance_mass.to_numpy() == pytest.approx(others.chance.to_numpy())
    assert found[["relevance_mass_low", "rank_accuracy_low", "iou_low"]].isna().all(axis=None)
    low, high = rows.iloc[-1][["pointing_game_low", "pointing_game_high"]]
    assert low < 0.3 and high > 0.99, "3 of 4"


def test_intervals_of_20_patients_are_those_of_the_mean():
    maps, masks = np.random.default_rng(0).random((40, 20, 20)), np.repeat(squares(1), 40, axis=0)
    groups = np.arange(40) // 2
    row = table_of({"gaussian": maps}, masks, ["a"] * 40, groups).iloc[-1]
    for name in ("relevance_mass", "rank_accuracy", "iou"):
        values = measure_maps(maps, masks, 0.2)[name]
        bounds = row[f"{name}_low"], row[f"{name}_high"]
        assert bounds == mean_interval(values, groups, 0, (0, 1)), name
    assert "iou_best_low" not in row, "the images that chose the threshold can't judge it"


def test_the_best_threshold_is_one_for_all_images():
    masks = squares(2)
    maps = np.where(masks, 1.0, np.array([0.3, 0.6])[:, None, None])
    row = table_of({"gaussian": maps}, masks, ["a", "a"], [0, 1]).iloc[-1]
    assert row.iou_best == 1 and row.best_threshold == pytest.approx(0.61)
    assert row.iou == pytest.approx(masks.mean())


def test_images_of_a_patient_count_together():
    """40 images that agree within each of 10 patients are worth 10."""
    masks = np.repeat(squares(1), 40, axis=0)
    hit = np.arange(40) < 20
    maps = {"gaussian": np.where(masks == hit[:, None, None], 1.0, 0.0)}
    widths = []
    for groups in (np.arange(40), np.arange(40) // 4):
        row = table_of(maps, masks, ["a"] * 40, groups).iloc[-1]
        assert row.pointing_game == 0.5
        widths.append(row.pointing_game_high - row.pointing_game_low)
    exact = [proportion_interval(n / 2, n) for n in (40, 10)]
    assert widths == pytest.approx([high - low for low, high in exact], abs=0.04)


def test_where_all_images_agree_the_interval_is_exact():
    masks = np.repeat(squares(1), 20, axis=0)
    maps = np.where(masks, 1.0, 0.0)
    row = table_of({"gaussian": maps}, masks, ["a"] * 20, np.arange(20)).iloc[-1]
    assert row.pointing_game_low == pytest.approx(0.025 ** (1 / 20), abs=0.02)
    assert row.pointing_game_high == 1


# NIH's boxes


def write_list(path, *rows):
    path.write_text(HEADER + "".join(f"{row}\n" for row in rows))
    return path


def test_boxes_are_shares_of_the_image(tmp_path):
    path = write_list(tmp_path / "boxes.csv", "1.png,Infiltrate,256.0,512.0,128.0,512.0")
    assert read_boxes(path).values.tolist() == [["1.png", "Infiltration", 0.25, 0.5, 0.375, 1.0]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1.png,Flu,1,2,3,4", "line 3, '1.png': found 'Flu' in the column 'Finding Label'"),
        ("1.png,Mass,1,2,3,x", r"line 3, '1.png': found 'x' in the column 'h\]'"),
        ("1.png,Mass,1,2,0,4", r"box \[1.0, 2.0, 0.0, 4.0\] of image 1.png"),
        ("1.png,Mass,1000,2,30,4", "inside 1024 x 1024 pixels"),
        ("1.png,Mass,1,-2,3,4", "inside 1024 x 1024 pixels"),
        ("1.png,Mass,1,2,3", "line 3, '1.png': found 5 fields, expected 6"),
        (",Mass,1,2,3,4", "line 3: found '' in the column 'Image Index'"),
    ],
)
def test_mistakes_in_a_list_of_boxes_are_named(tmp_path, row, message):
    path = write_list(tmp_path / "boxes.csv", "0.png,Mass,10.5,20.5,30.0,40.0", row)
    with pytest.raises(InputError, match=message):
        read_boxes(path)


def test_nih_s_own_list(real_data):
    boxes = read_boxes(real_data / "chestxray14-labels" / "BBox_List_2017.csv.gz")
    assert len(boxes) == 984 and boxes.image.nunique() == 880
    assert boxes.finding.value_counts().to_dict() == {
        "Atelectasis": 180, "Effusion": 153, "Cardiomegaly": 146, "Infiltration": 123,
        "Pneumonia": 120, "Pneumothorax": 98, "Mass": 85, "Nodule": 79,
    }  # fmt: skip


@pytest.fixture
def boxed(tmp_path):
    """Arguments of prepare_boxes for images that are white in their boxes, and black elsewhere."""
    drawn = {
        "test.png": [(96, 224, 480, 160), (640, 0, 320, 320)],
        "train.png": [(0, 0, 512, 512)],
        "both.png": [(512, 512, 256, 512)],
    }
    rows, pixels = [], []
    for image, boxes in drawn.items():
        picture = np.zeros((1024, 1024), np.uint8)
        for x, y, width, height in boxes:
            picture[y : y + height, x : x + width] = 255
            rows.append(f"{image},Mass,{x},{y},{width},{height}")
        pixels.append(to_square(Image.fromarray(picture), 64))
    rows.append("both.png,Effusion,0,0,1024,1024")
    save_images(tmp_path / "a.npy", np.stack(pixels), pd.DataFrame({"image": list(drawn)}))
    split = pd.DataFrame({"image": list(drawn), "patient_id": [5, 6, 7]})
    split.assign(split=["test", "train", "test"]).to_csv(tmp_path / "split.csv", index=False)
    boxes = write_list(tmp_path / "boxes.csv", *rows, "elsewhere.png,Mass,1,1,9,9")
    images = [tmp_path / "a.npy"], [tmp_path / "a.csv"]
    out = ImageSet(tmp_path / "boxed.npz", tmp_path / "boxed.csv")
    return boxes, *images, tmp_path / "split.csv", out


def test_masks_of_test_images_lie_where_their_boxes_are(boxed):
    prepare_boxes(*boxed)
    pixels, masks, table = read_masked(boxed[-1])
    assert table.values.tolist() == [
        ["both.png", "Effusion", "7"], ["both.png", "Mass", "7"], ["test.png", "Mass", "5"],
    ]  # fmt: skip
    assert masks[0].all()
    assert (masks[1:] == (pixels[1:] >= 128)).all()
    assert masks[2].sum() == (480 * 160 + 320 * 320) / 16**2


def test_boxes_of_other_images_are_refused(boxed):
    write_list(boxed[0], "elsewhere.png,Mass,1,1,9,9")
    with pytest.raises(InputError, match="none of its 1 boxes is of an image of"):
        prepare_boxes(*boxed)


# Masks of COVID-19 images


@pytest.fixture
def masked(tmp_path):
    """Arguments of prepare_masks for images that are white where their masks are."""
    names = [f"COVID-19/COVID-19 ({number}).png" for number in (1, 2, 3)]
    pixels = []
    for number, name in enumerate(names):
        picture = np.zeros((96, 96), np.uint8)
        picture[30 : 60 + 9 * number, 12:36] = 255
        pixels.append(to_square(Image.fromarray(picture), 32))
        path = tmp_path / "masks" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number != 1:
            Image.fromarray(picture // 255).save(path)  # 0 and 1, as some programs write masks
    table = pd.DataFrame({"image": names, "class": "covid19", "group": [7, 8, 7]})
    save_images(tmp_path / "test.npy", np.stack(pixels), table)
    table.assign(width=96, height=96).to_csv(tmp_path / "manifest.csv", index=False)
    return {
        "images": ImageSet.of(tmp_path / "test.npy"),
        "masks": tmp_path / "masks",
        "manifest": tmp_path / "manifest.csv",
        "out": ImageSet(tmp_path / "masked.npz", tmp_path / "masked.csv"),
    }


def test_masks_are_resized_as_their_images(masked, capsys):
    prepare_masks(**masked)
    pixels, masks, table = read_masked(masked["out"])
    assert table.image.tolist() == [f"COVID-19/COVID-19 ({number}).png" for number in (1, 3)]
    assert (masks == (pixels >= 128)).all() and masks.any()
    assert table.group.tolist() == ["7", "7"], "as the images' table has it"
    assert "masks of 2 of 3 test images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((64, 64), np.uint8), "64 x 64 pixels, expected the size of its image, 96 x 96"),
        (np.arange(96 * 96, dtype=np.uint8).reshape(96, 96), "expected a mask: black, and one"),
        (np.full((96, 96), 255, np.uint8), "expected a mask: black, and one"),
    ],
)
def test_what_is_no_mask_of_its_image_is_refused(masked, mask, message):
    Image.fromarray(mask).save(masked["masks"] / "COVID-19/COVID-19 (1).png")
    with pytest.raises(InputError, match=message):
        prepare_masks(**masked)


def test_a_folder_without_masks_of_test_images_is_refused(masked, tmp_path):
    with pytest.raises(InputError, match="found a mask for none of 3 test images"):
        prepare_masks(**masked | {"masks": tmp_path})


def test_an_empty_mask_is_left_out_with_a_warning(masked, capsys):
    Image.new("L", (96, 96)).save(masked["masks"] / "COVID-19/COVID-19 (1).png")
    prepare_masks(**masked)
    assert len(read_masked(masked["out"])[2]) == 1
    assert "COVID-19 (1).png: its mask has no pixel at this size" in capsys.readouterr().err


# The step


OUTPUTS = ["Nodule", "Mass"]


def localise_planted(folder, findings, monkeypatch, planted, methods=("grad_cam",)):
    """Run the step on images with masks of findings; planted: what stands for heatmaps."""
    masks = squares(len(findings), 64)
    net = folder / "net.safetensors"
    description = {"architecture": "squeezenet1_1", "outputs": OUTPUTS, "image_size": 64}
    save_net(net, create("squeezenet1_1", 2), description)
    table = pd.DataFrame({"image": "a.png", "finding": findings, "group": range(len(findings))})
    images = ImageSet(folder / "boxed.npz", folder / "boxed.csv")
    save_masked(images, 255 * masks.astype(np.uint8), masks, table)
    monkeypatch.setattr(localise, "heatmaps", planted)
    out = folder / "localisation.csv", folder / "localisation.svg"
    localise.localise(net, images, list(methods), 0.2, 2, 0, *out)
    return pd.read_csv(out[0]), out[1].read_text()


def test_each_image_is_explained_for_its_finding(tmp_path, monkeypatch, capsys):
    explained = []

    def planted(net, pixels, outputs, methods, device, seed):
        explained.extend(outputs.tolist())
        maps = heatmaps(net, pixels, outputs, [*BASELINES], device, seed)
        return {"grad_cam": pixels * (outputs == 1)[:, None, None]} | maps

    findings = ["Mass", "Hernia", "Nodule", "Mass", "Mass"]
    table, figure = localise_planted(tmp_path, findings, monkeypatch, planted)
    assert sorted(explained) == [0, 1, 1], "at most 2 of a finding, none without an output"
    rows = table[table.method == "grad_cam"].set_index("finding")
    assert rows.index.tolist() in (["Mass", "Nodule", "all"], ["Nodule", "Mass", "all"])
    assert rows.loc["Mass", [*MEANS]].tolist() == [1, 1, 1, 1]
    assert rows.loc["Nodule", [*MEANS]].tolist() == pytest.approx([rows.chance["Nodule"]] * 4)
    assert rows.without_relevance.to_dict() == {"Mass": 0, "Nodule": 1, "all": 1}
    assert set(table.method) == {"grad_cam", *BASELINES}
    assert "3 pairs of image and finding" in figure and "Grad-CAM" in figure
    assert "1 of 3 maps empty" in figure
    assert "no output for Hernia" in capsys.readouterr().err


def test_no_image_to_explain_is_said(tmp_path, monkeypatch, capsys):
    table, figure = localise_planted(tmp_path, ["Hernia"], monkeypatch, None)
    assert (table.n == 0).all() and table.pointing_game.isna().all()
    assert "no test image has a mask" in figure
    assert "found no image to explain" in capsys.readouterr().err
