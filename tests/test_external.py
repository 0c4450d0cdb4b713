"""External sets: what is listed, what is left out, and scores that can be counted by hand."""

import shutil
import subprocess
import zipfile

import numpy as np
import pandas as pd
import pytest
from cxr.checksums import git_tree
from cxr.cli import InputError
from cxr.data.covid19 import CLASSES
from cxr.data.image_sets import save_images
from cxr.data.phantoms import draw_frontal
from cxr.evaluation.scores import macro_auroc
from draw_phantoms import draw_second_hospital
from evaluate_external import difference, evaluate_external
from list_external import list_external
from PIL import Image, ImageOps
from prepare_external import prepare_external
from scipy.special import logit
from statsmodels.stats.proportion import proportion_confint

WORDS = {"normal": "healthy", "covid19": "COVID-19"}
TABLE = {"table": "labels.csv", "image_column": "file", "class_column": "says"}


def picture(seed, size=64):
    return draw_frontal([], size, np.random.default_rng(seed))


def read(path):
    return pd.read_csv(path, keep_default_na=False, dtype=str)


@pytest.fixture
def hospital(tmp_path):
    """A folder of four images, two of them of one name, with a table that a test may change."""
    folder = tmp_path / "hospital"
    for seed, name in enumerate(("a/1.png", "a/2.png", "b/2.png", "b/3.jpg")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed)).save(folder / name)
    return folder


@pytest.fixture
def listed(hospital, tmp_path):
    """What list_external makes of the folder and rows of a table, file and says first."""

    def run(*rows, columns="file,says", classes=WORDS, **options):
        text = "\n".join([columns, *rows, ""])
        (hospital / "labels.csv").write_bytes(text.encode(options.get("encoding", "utf-8")))
        out = tmp_path / "manifest.csv"
        list_external([("set", hospital)], classes, tmp_path / "images", out, **TABLE | options)
        return read(out).set_index("image")

    return run


# Tables


def test_images_are_named_by_as_much_of_their_path_as_is_unique(listed):
    classes = {"normal": ["healthy", "No finding"], "covid19": "COVID-19"}
    rows = ("1,healthy", "a/2.png,No finding", r"b\2,COVID-19", "set/b/3.jpg, COVID-19 ")
    table = listed(*rows, classes=classes)
    assert table.path.tolist() == ["set/a/1.png", "set/a/2.png", "set/b/2.png", "set/b/3.jpg"]
    assert table["class"].tolist() == ["normal", "normal", "covid19", "covid19"]
    assert (table.reason == "").all() and table.sha256.nunique() == 4


def test_rows_with_other_words_are_left_out_with_the_reason(listed, capsys):
    table = listed(
        "1,healthy,PA,Ann", "a/2.png,COVID-19,PA,NA", "b/2.png,flu,PA,Ann", "3,healthy,L,Ann",
        "elsewhere.png,,PA,Ann", columns="file,says,view,who",
        only=[("view", "PA")], patient_column="who",
    )  # fmt: skip
    assert table.reason.to_dict() == {
        "1": "", "a/2.png": "", "b/2.png": "labelled 'flu'", "3": "view is 'L'",
        "elsewhere.png": "not labelled",
    }  # fmt: skip
    assert table.patient_id.tolist()[:2] == ["Ann", ""], "NA is nobody's name"
    assert "2 images, 3 left out" in capsys.readouterr().out


def test_images_in_no_row_are_listed(listed):
    table = listed("1,healthy", "3,COVID-19")
    rest = table[table.reason == "in no row of the table"]
    assert rest.index.tolist() == ["set/a/2.png", "set/b/2.png"] and (rest["class"] == "").all()


def test_a_row_twice_counts_once(listed):
    table = listed("1,healthy", "a/1.png,healthy", "1,healthy", "3,COVID-19").iloc[:4]
    assert table.reason.tolist() == ["", "in another row, too", "in another row, too", ""]


def test_a_row_that_is_left_out_may_be_of_no_or_any_image(listed):
    table = listed("a/2.png,healthy", "2,flu", "9,flu", "3,COVID-19")
    assert table.path[["2", "9"]].tolist() == ["", ""]
    assert table.reason[["a/2.png", "2"]].tolist() == ["", "labelled 'flu'"]


def test_a_table_of_latin_letters(listed):
    classes = {"covid19": "fiebre, neumonía", "normal": "sano"}
    table = listed("1,sano", '3,"fiebre, neumonía"', classes=classes, encoding="latin-1")
    assert table["class"][["1", "3"]].tolist() == ["normal", "covid19"]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1,healthy", "a/1.png,COVID-19"], r"labels \['healthy', 'COVID-19'\] for the image"),
        (["1,healthy", "a/1.png,", "3,COVID-19"], r"found labels \['healthy', ''\]"),
        (["1,healthy", "2,COVID-19"], "image '2' could be set/a/2.png or set/b/2.png"),
        (["1,healthy", "4,COVID-19"], "found 1 images that are not there, first '4'"),
        (["1,healthy", "3,Covid-19"], r"no image is 'COVID-19' .covid19.*labelled 'Covid-19'"),
        ([",healthy", "3,COVID-19"], "line 2.*expected a value"),
        (["1,healthy,x", "3,COVID-19"], "found 3 fields, expected 2"),
    ],
)
def test_a_table_that_is_wrong_is_an_error(listed, rows, message):
    with pytest.raises(InputError, match=message):
        listed(*rows)


def test_two_patients_of_one_image(listed):
    rows = ("1,healthy,Ann", "a/1.png,healthy,Bob", "3,COVID-19,Bob")
    with pytest.raises(InputError, match=r"found patients \['Ann', 'Bob'\]"):
        listed(*rows, columns="file,says,who", patient_column="who", classes={"normal": "healthy"})


def test_a_misspelt_word_of_only(listed):
    with pytest.raises(InputError, match="no row has 'PA' in the column 'view'; found"):
        listed("1,healthy,pa", columns="file,says,view", only=[("view", "PA")])


def test_a_table_by_hand_needs_its_columns(listed):
    with pytest.raises(InputError, match="--table needs --image-column and --class-column"):
        listed("1,healthy", class_column=None)


def test_two_tables_of_a_name(listed, hospital):
    shutil.copytree(hospital, hospital / "copy")
    (hospital / "copy/labels.csv").touch()
    with pytest.raises(InputError, match=r"one table 'labels.csv', found 2 of them"):
        listed("a/1.png,healthy")


# Folders and zip files


def test_classes_by_folder(hospital, tmp_path):
    (hospital / "c").mkdir()
    Image.fromarray(picture(9)).save(hospital / "c/9.png")
    classes = {"normal": "a", "covid19": ["b"]}
    list_external([("set", hospital)], classes, tmp_path / "images", tmp_path / "out.csv")
    table = read(tmp_path / "out.csv")
    assert table["class"].tolist() == ["normal", "normal", "covid19", "covid19", ""]
    assert table.reason.tolist()[-1] == "in no folder of a class"


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"normal": "a", "covid19": "hospital2"}, "no image is 'hospital2' .covid19"),
        ({"normal": "set", "covid19": "b"}, "found folders of two classes above it"),
        ({"normal": "a", "covid19": ["b", "a"]}, "'a' is normal and covid19; expected one"),
        ({"normal": "a", "flu": "b"}, "class 'flu'; expected one of"),
    ],
)
def test_folders_that_are_wrong_are_an_error(hospital, tmp_path, classes, message):
    with pytest.raises(InputError, match=message):
        list_external([("set", hospital)], classes, tmp_path / "images", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, f"repository-1a2b/{file.relative_to(folder)}")
    return path


def list_zip(path, tmp_path, **options):
    classes = {"normal": "a", "covid19": "b"}
    list_external([("set.zip", path)], classes, tmp_path / "im", tmp_path / "out.csv", **options)
    return read(tmp_path / "out.csv")


def test_a_zip_file_of_a_commit_is_checked_against_its_tree(hospital, tmp_path):
    (hospital / "b.txt").write_text("sorts before the folder b, in git")
    subprocess.run(["git", "init", "-q", hospital], check=True)
    subprocess.run(["git", "-C", hospital, "add", "."], check=True)
    words = ["git", "-C", hospital, "write-tree"]
    tree = subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    shutil.rmtree(hospital / ".git")
    assert git_tree(hospital) == tree
    path = zipped(hospital, tmp_path / "archive")
    assert len(list_zip(path, tmp_path, trees=[("set.zip", tree)])) == 4
    Image.fromarray(picture(7)).save(hospital / "a/1.png")
    path = zipped(hospital, tmp_path / "archive")
    with pytest.raises(InputError, match=f"the git tree in it is .*, expected {tree}"):
        list_zip(path, tmp_path, trees=[("set.zip", tree)])


@pytest.mark.parametrize("damage", ["cut", "encrypted", "text"])
def test_a_zip_file_that_cannot_be_unpacked(hospital, tmp_path, damage):
    path = zipped(hospital, tmp_path / "set.zip")
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "text":
        content = b"<html>not found</html>"
    else:  # the flag of each member, in its own header and in the list at the end
        for mark, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            start = content.find(mark)
            while start >= 0:
                content[start + place] |= 1
                start = content.find(mark, start + 1)
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a whole zip file"):
        list_zip(path, tmp_path)


# Preparation


@pytest.fixture
def prepared(tmp_path):
    """What prepare_external makes of images {name: (pixels, class, patient)} and known ones."""

    def run(images, known=(), size=64, **options):
        rows = []
        for name, (pixels, of_class, patient) in images.items():
            path = tmp_path / "set" / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"no image") if pixels is None else Image.fromarray(pixels).save(path)
            rows.append((name, name, of_class, patient, "", ""))
        columns = ["image", "path", "class", "patient_id", "sha256", "reason"]
        pd.DataFrame(rows, columns=columns).to_csv(tmp_path / "set.csv", index=False)
        known = known or [picture(99)]
        names = pd.DataFrame({"image": [f"k{number}.png" for number in range(len(known))]})
        save_images(tmp_path / "train.npy", np.stack(known), names)
        paths = {
            "images": {"set": tmp_path / "out.npy"}, "tables": {"set": tmp_path / "out.csv"},
            "left_out": {"set": tmp_path / "left.csv"}, "boxes": {"set": tmp_path / "boxes.csv"},
        }  # fmt: skip
        settings = {
            "size": size, "max_unreadable": 0.5, "candidates": 3, "correlation": 0.985,
            "words_in": [], "text_boxes": {}, "threads": 1,
        }  # fmt: skip
        prepare_external(
            {"set": tmp_path / "set"}, {"set": tmp_path / "set.csv"},
            known=[tmp_path / "train.npy"], known_tables=[tmp_path / "train.csv"],
            **settings | options, **paths,
        )  # fmt: skip
        return (
            np.load(tmp_path / "out.npy"),
            read(tmp_path / "out.csv"),
            read(tmp_path / "left.csv"),
        )

    return run


def test_planted_copies_of_training_images_are_left_out(prepared):
    seen, other = picture(1, 192), picture(2, 192)
    mirrored = np.asarray(ImageOps.mirror(Image.fromarray(seen)))
    cropped = np.asarray(Image.fromarray(seen[10:-10, 10:-10]))
    images = {
        "other.png": (other, "normal", ""), "mirrored.png": (mirrored, "covid19", ""),
        "cropped.png": (cropped, "covid19", ""),
    }  # fmt: skip
    pixels, table, left_out = prepared(images, [picture(5, 192), seen], size=192)
    assert table.image.tolist() == ["other.png"] and len(pixels) == 1
    reasons = left_out.set_index("image").reason
    assert reasons["mirrored.png"].startswith("copy of k1.png of ")
    assert "(mirrored; " in reasons["mirrored.png"] and "cropped" in reasons["cropped.png"]


def test_images_of_a_patient_and_same_pictures_are_one_group(prepared, capsys):
    images = {
        "1.png": (picture(1, 192), "normal", "Ann"), "2.png": (picture(2, 192), "normal", "Ann"),
        "3.png": (picture(3, 192), "normal", ""), "4.png": (picture(4, 192), "covid19", ""),
        "5.png": (255 - picture(4, 192), "normal", ""),
    }  # fmt: skip
    _, table, _ = prepared(images, size=192)
    group = table.set_index("image").group
    assert group["1.png"] == group["2.png"] and group["4.png"] == group["5.png"]
    assert group.nunique() == 3
    assert "4.png and 5.png look the same, not their classes" in capsys.readouterr().out


def test_unreadable_images_are_listed_and_limited(prepared):
    images = {"1.png": (picture(1), "normal", ""), "2.png": (None, "covid19", "")}
    _, table, left_out = prepared(images)
    assert table.image.tolist() == ["1.png"]
    assert left_out[["image", "reason"]].to_numpy().tolist() == [["2.png", "the file is no image"]]
    with pytest.raises(InputError, match="1 of 2 images can't be used"):
        prepared(images, max_unreadable=0.1)


def test_words_of_a_list_are_covered(prepared, tmp_path):
    (tmp_path / "boxes_given.csv").write_text("image,x0,y0,x1,y1,text\n1.png,8,0,24,16,AP\n")
    images = {"1.png": (np.full((64, 64), 200, np.uint8) + picture(1) // 8, "normal", "")}
    pixels, *_ = prepared(images, text_boxes={"set": tmp_path / "boxes_given.csv"})
    assert (pixels[0, :16, 8:24] == 0).all() and pixels[0, :, 25:].min() > 0
    assert read(tmp_path / "boxes.csv").text.tolist() == ["AP"]
    with pytest.raises(InputError, match=r"image '1.png' is not in the database"):
        prepared({"2.png": images["1.png"]}, text_boxes={"set": tmp_path / "boxes_given.csv"})


def test_a_set_of_copies_is_an_error(prepared):
    with pytest.raises(InputError, match=r"none of 1 images is left; 1.png: copy of k0.png"):
        prepared({"1.png": (picture(1), "normal", "")}, [picture(1)])


# Scores


def logits_of(rows, **columns):
    """A table of logits, near certain, of rows (class, decision)."""
    values = [[4.0 if name == decision else -4.0 for name in CLASSES] for _, decision in rows]
    table = pd.DataFrame(values, columns=list(CLASSES))
    table.insert(0, "image", [f"{number}.png" for number in range(len(rows))])
    table["class"] = [name for name, _ in rows]
    table["group"] = range(len(rows))
    return table.assign(**columns)


@pytest.fixture
def evaluated(tmp_path):
    """Tables that evaluate_external makes of an internal and, perhaps, an external set."""

    def run(internal, external=None, left_out=(), net="netA", fitted=False, min_confidence=None):
        internal.assign(split="test").to_csv(tmp_path / "own.csv", index=False)
        rows = f"calibration,temperature,fitted\nbefore,1,False\nafter,2.0,{fitted}\n"
        (tmp_path / "calibration.csv").write_text(rows)
        if external is not None:
            external.assign(net=net, set="far").to_csv(tmp_path / "logits.csv", index=False)
        reasons = pd.DataFrame({"image": range(len(left_out)), "reason": left_out})
        reasons.to_csv(tmp_path / "left.csv", index=False)
        names = ("table", "confusion", "first", "figure", "finding")
        out = {name: tmp_path / f"out_{name}.csv" for name in names}
        evaluate_external(
            {"netA": tmp_path / "own.csv"}, {"netA": tmp_path / "calibration.csv"},
            None if external is None else tmp_path / "logits.csv",
            {} if external is None else {"far": tmp_path / "left.csv"}, min_confidence,
            [PUBLISHED],
            *out.values(),
        )  # fmt: skip
        return {name: pd.read_csv(out[name]) for name in names if name != "figure"}

    return run


OWN = logits_of([(name, name) for name in CLASSES] * 4)
PUBLISHED = {"study": "X", "accuracy": 0.7, "accuracy_low": 0.6, "accuracy_high": 0.8, "auc": 0.9}
# Of 4 normal images 3 are right, of 6 COVID-19 images 2; no image of viral pneumonia.
FAR = logits_of(
    [("normal", "normal")] * 3 + [("normal", "covid19")] + [("covid19", "covid19")] * 2
    + [("covid19", "normal")] * 3 + [("covid19", "viral_pneumonia")]
)  # fmt: skip


def test_scores_counted_by_hand_of_a_set_of_two_classes(evaluated):
    left_out = ["copy of a.png of train.csv (same; 1.00)", "not labelled", "labelled 'copy of'"]
    found = evaluated(OWN, FAR, left_out)
    row = found["table"].set_index("set").loc["far"]
    assert row.classes == "normal; covid19" and (row.n, row.groups) == (10, 10)
    assert (row.left_out, row.copies) == (3, 1)
    assert row.accuracy == 0.5 and row.internal_accuracy == 1 and row.difference == -0.5
    assert found["table"].set_index("set").difference.isna().tolist() == [True, False]
    assert (row.recall_normal, row.recall_covid19) == (0.75, pytest.approx(1 / 3))
    assert (row.precision_normal, row.precision_covid19) == (0.5, pytest.approx(2 / 3))
    # Exact (Clopper-Pearson) intervals of 5 of 10 and 3 of 4.
    assert (row.accuracy_low, row.accuracy_high) == pytest.approx((0.18709, 0.81291), abs=1e-5)
    assert (row.recall_normal_low, row.recall_normal_high) == pytest.approx(
        (0.19412, 0.99369), abs=1e-5
    )
    # Normal against the rest: of 4 x 6 pairs 3 x 3 are won, 3 x 3 + 1 x 3 tied; COVID-19: 3 x 2
    # won, 3 x 4 + 1 x 2 tied.
    assert row.macro_auc == pytest.approx(((9 + 6) / 24 + (6 + 7) / 24) / 2)
    absent = [name for name in row.index if "viral_pneumonia" in name]
    assert len(absent) == 6 and row[absent].isna().all()
    assert np.isnan(row.no_decision) and np.isnan(row.accuracy_decided)
    counts = found["confusion"].query("set == 'far'").set_index("class")[list(CLASSES)]
    assert counts.to_numpy().tolist() == [[3, 0, 1], [0, 0, 0], [3, 1, 2]]
    text = found["finding"].iloc[0]
    assert (
        "far (10 images of normal, covid19; left out as copies of known images: 1)" in text.result
    )
    assert text.gate == "report"


def test_internal_images_of_other_classes_do_not_count_in_the_comparison(evaluated):
    own = logits_of(
        [("normal", "normal"), ("covid19", "normal")] + [("viral_pneumonia", "normal")] * 8
    )
    row = evaluated(own, FAR)["table"].set_index("set").loc["far"]
    assert row.internal_accuracy == 0.5 and row.difference == 0


def test_images_of_a_patient_count_together(evaluated):
    alone = evaluated(OWN, FAR)["table"].set_index("set").loc["far"]
    twice = pd.concat([FAR, FAR.assign(image=FAR.image + "b")])
    row = evaluated(OWN, twice)["table"].set_index("set").loc["far"]
    assert (row.n, row.groups) == (20, 10)
    assert row.accuracy_low == pytest.approx(alone.accuracy_low, abs=0.03)
    assert row.accuracy_low < 0.26, "20 independent images have 0.272"


@pytest.mark.parametrize(("fitted", "share"), [(False, 0.2), (True, 0.4)])
def test_no_decision_below_a_calibrated_sigmoid(evaluated, fitted, share):
    far = FAR.copy()
    far.loc[[0, 9], list(CLASSES)] = [[logit(0.6), -4, -4], [-4, logit(0.6), -4]]
    far.loc[[1, 8], list(CLASSES)] = [[logit(0.8), -4, -4], [logit(0.8), -4, -4]]
    row = (
        evaluated(OWN, far, fitted=fitted, min_confidence=0.7)["table"].set_index("set").loc["far"]
    )
    assert row.no_decision == share, "0.8 is 0.67 at a temperature of 2"
    assert row.accuracy == 0.5, "of all images"
    assert row.accuracy_decided == 0.5


def test_without_a_set_the_report_says_so(evaluated):
    found = evaluated(OWN)
    assert found["table"].set.tolist() == ["internal"]
    assert "no external set is configured" in found["finding"].result[0]
    assert found["first"].net.tolist() == ["X"], "what others report stays"


def test_a_set_of_one_class_has_a_recall_and_no_auroc(evaluated):
    row = evaluated(OWN, FAR[:4])["table"].set_index("set").loc["far"]
    assert row.classes == "normal" and row.recall_normal == 0.75 and row.precision_normal == 1
    assert np.isnan(row.macro_auc)


def test_a_net_without_predictions_of_a_set_is_an_error(evaluated):
    with pytest.raises(InputError, match="no row of netA and the set 'far'"):
        evaluated(OWN, FAR, net="netB")


def test_difference_is_newcombes():
    """His example (1998, table II, case a, method 10): 56 of 70 and 48 of 80."""
    shares = [(k / n, *proportion_confint(k, n, method="wilson")) for k, n in ((56, 70), (48, 80))]
    assert difference(*shares) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_perfect_ranking_of_two_classes():
    table = FAR.iloc[[0, 1, 4, 5]].reset_index(drop=True)
    assert macro_auroc(table, ["normal", "covid19"])[0] == 1


# Predictions and the model card


def test_predictions_are_by_the_names_of_outputs(tmp_path):
    torch = pytest.importorskip("torch")
    from cxr.nets.torch_nets import create, save_net
    from predict_external import predict_external

    torch.manual_seed(0)
    net, outputs = create("squeezenet1_1", 3), list(CLASSES)
    pixels = np.stack([picture(seed) for seed in range(2)])
    table = pd.DataFrame({"image": ["1.png", "2.png"], "class": "covid19", "group": [0, 1]})
    save_images(tmp_path / "set.npy", pixels, table)
    images, found = {"far": tmp_path / "set.npy"}, {}
    for name in (outputs, outputs[::-1]):
        description = {"architecture": "squeezenet1_1", "outputs": name, "image_size": 64}
        save_net(tmp_path / "net.safetensors", net, description)
        predict_external(
            {"netA": tmp_path / "net.safetensors"}, images, {"far": tmp_path / "set.csv"},
            tmp_path / "logits.csv",
        )  # fmt: skip
        found[name[0]] = pd.read_csv(tmp_path / "logits.csv")
    one, other = found["normal"], found["covid19"]
    assert one[["net", "set", "image", "class"]].to_numpy().tolist()[1] == [
        "netA", "far", "2.png", "covid19",
    ]  # fmt: skip
    assert (one[outputs].to_numpy() == other[outputs[::-1]].to_numpy()).all()
    assert (one.normal != one.covid19).all()


def test_model_card_has_the_sets(evaluated, tmp_path):
    from write_model_card import external_scores

    evaluated(OWN)
    assert external_scores("netA", tmp_path / "out_table.csv") == "No external set was tried."
    evaluated(OWN, FAR)
    card = external_scores("netA", tmp_path / "out_table.csv")
    assert "| far | 10 | 0.5000 | 0.1871 | 0.8129 | " in card and "internal" not in card


# Phantoms


def test_second_hospital_is_another_and_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        draw_second_hospital(tmp_path / name, 4, 64, seed=0)
    files = sorted(path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*.*"))
    assert all(
        (tmp_path / "one" / f).read_bytes() == (tmp_path / "two" / f).read_bytes() for f in files
    )
    table = read(tmp_path / "one/findings.csv")
    assert table.diagnosis.value_counts().to_dict() == {
        "unremarkable": 4, "viral pneumonia": 4, "SARS-CoV-2 pneumonia": 4, "inconclusive": 2,
    }  # fmt: skip
    assert 1 < table.person.value_counts().max() <= 2
    assert (table.groupby("person").diagnosis.nunique() == 1).all()
    pixels = np.asarray(Image.open(tmp_path / "one/images" / table.file[0]))
    assert pixels.shape == (80, 64)
    assert (pixels[0] == 0).all() and (pixels[:, 0] == 0).all(), "collimator blades"
