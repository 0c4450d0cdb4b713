"""Lungs: drawn masks as people store them, a net that learns them, and audits that use them."""

import re
import subprocess
import sys
import zipfile

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")
import pandas as pd
import train_lungs as training
from audit_nuisance import OUTLINE, audit_nuisance
from audit_regions import audit_regions
from audit_relevance import audit_relevance
from cxr.cli import InputError
from cxr.data import phantoms
from cxr.data.decoding import read_grey
from cxr.data.image_sets import ImageSet, save_images
from cxr.data.lungs import Files, Lungs, ellipse, implausible, lungs_in, match_names, save_lungs
from cxr.evaluation.audits import AuditOutputs
from cxr.nets.descriptions import NetError
from cxr.nets.lung_nets import create, load_lung_net, outline
from cxr.nets.torch_nets import save_net
from cxr.training.lungs import vary
from find_lungs import find_lungs
from PIL import Image
from segment_lungs import segment_lungs
from small_trainings import new_net
from studies import ROOT
from torch import nn
from train_lungs import read_sources, train_lungs

SETTINGS = {
    "encoder": "tu-test_resnet", "image_size": 32, "steps": 30, "batch_size": 8,
    "learning_rate": 0.01, "folds": 2, "seed": 0, "candidates": 1, "correlation": 0.99,
}  # fmt: skip


def save(path, picture):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, "PNG")  # whatever its suffix: V7 Labs' masks are such
    return path


def draw(folder, n, size=96, seed=0):
    """n phantoms and masks of their lungs, in images/ and masks/ of a folder."""
    rng, drawn = np.random.default_rng(seed), []
    for number in range(n):
        picture, _, lungs = phantoms.draw_parts([phantoms.COVID19], size, rng)
        save(folder / f"images/COVID-19/{number}.jpg", picture)
        save(folder / f"masks/{number}.jpg", lungs)
        drawn.append(lungs)
    return np.array(drawn)


# Masks


def square(size=40):
    mask = np.zeros((size, size), bool)
    mask[8:30, 5:17] = mask[8:30, 22:36] = True
    return mask


def stored_as(kind, mask):
    """A mask as an image of a kind that people store."""
    grey = Image.fromarray(255 * mask.astype(np.uint8))
    if kind == "palette":
        found = Image.fromarray(mask.astype(np.uint8), "P")
        found.putpalette([0, 0, 0, 200, 30, 30])
        return found
    if kind == "0 and 1":
        return Image.fromarray(mask.astype(np.uint8))
    if kind == "with darker marks":
        values = np.array(grey)
        values[2:6, 2:30] = 127
        return Image.fromarray(values)
    return grey.convert({"bit": "1", "RGB": "RGB", "RGBA": "RGBA", "grey": "L"}[kind])


@pytest.mark.parametrize(
    "kind", ["bit", "grey", "RGB", "RGBA", "palette", "0 and 1", "with darker marks"]
)
def test_masks_of_all_kinds_are_read_alike(tmp_path, kind):
    stored_as(kind, square()).save(tmp_path / "mask.png")
    assert (lungs_in(read_grey(tmp_path / "mask.png")) == square()).all()


@pytest.mark.parametrize("bad, words", [(np.zeros((40, 40), bool), "empty"), (~square(), "white")])
def test_empty_and_inverted_masks_are_refused(bad, words):
    with pytest.raises(InputError, match=words):
        lungs_in(stored_as("grey", bad))


def test_masks_belong_to_the_image_of_their_name():
    images = ["x/1.jpg", "x/1.png", "x/2.jpeg", "x/3.png", "y/3.png", "z/4.png", "y/4.png"]
    masks = ["m/1.jpg", "2.png", "m/y/3.png", "4.png", "5.png"]
    found = {match.mask: (match.image, match.reason) for match in match_names(images, masks)}
    assert found == {
        "m/1.jpg": ("x/1.jpg", ""),
        "2.png": ("x/2.jpeg", ""),
        "m/y/3.png": ("y/3.png", ""),
        "4.png": ("", "several images of its name"),
        "5.png": ("", "no image of its name"),
    }


def test_masks_that_do_not_fit_are_left_out_and_counted(tmp_path, capsys):
    drawn = draw(tmp_path, 6)
    save(tmp_path / "masks/1.jpg", drawn[1][:-1])  # of another copy of the picture
    save(tmp_path / "masks/2.jpg", np.zeros_like(drawn[2]))
    (tmp_path / "masks/3.jpg").write_bytes(b"no image")
    save(tmp_path / "masks/x.jpg", drawn[4])
    (tmp_path / "masks/.4.jpg").write_bytes(b"clutter")
    images = {"v7": tmp_path / "images"}
    table, pixels, masks = read_sources({"v7": tmp_path / "masks"}, images, {}, 96)
    used = table[table.reason == ""]
    assert used["mask"].tolist() == ["0.jpg", "4.jpg", "5.jpg"]
    assert used["class"].tolist() == ["COVID-19"] * 3
    assert (masks == drawn[[0, 4, 5]]).all() and pixels.shape == (3, 96, 96)
    said = capsys.readouterr().err
    assert "v7: 3 of 7 masks used" in said
    for reason in ("differs from its image in size", "is empty", "no image of its name"):
        assert f"1 left out: the mask {reason}" in said or f"1 left out: {reason}" in said


def test_a_zip_file_is_read_like_its_folder(tmp_path):
    drawn = draw(tmp_path, 3)
    for name in ("images", "masks"):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w") as archive:
            for path in sorted((tmp_path / name).rglob("*.jpg")):
                archive.write(path, f"repository-main/{path.relative_to(tmp_path)}")
    (tmp_path / "bad.zip").write_bytes((tmp_path / "masks.zip").read_bytes()[:-50])
    sources = {"v7": tmp_path / "masks.zip"}, {"v7": tmp_path / "images.zip"}
    _, pixels, masks = read_sources(*sources, {}, 96)
    assert (masks == drawn).all()
    assert (pixels == read_sources({"v7": tmp_path / "masks"}, sources[1], {}, 96)[1]).all()
    with pytest.raises(InputError, match=r"bad\.zip: found no whole zip file"):
        Files(tmp_path / "bad.zip")


def test_the_collection_s_table_says_patients_and_findings(tmp_path):
    draw(tmp_path, 4)
    rows = ["Patientid,finding,filename"]  # so in April 2020
    rows += [f"{place // 2},Pneumonia/Viral/SARS,{place}.jpg" for place in range(4)]
    (tmp_path / "images/metadata.csv").write_text("\n".join(rows))
    table, pixels, _ = read_sources({"a": tmp_path / "masks"}, {"a": tmp_path / "images"}, {}, 96)
    assert table["class"].tolist() == ["SARS"] * 4
    groups = training.groups_of(table, pixels, SETTINGS).tolist()
    assert groups == [0, 0, 1, 1]
    table["group"] = groups
    for seed in range(6):
        folds = training.folds_of(table, SETTINGS | {"seed": seed})
        assert folds[0] == folds[1] != folds[2] == folds[3]


def test_copies_of_a_picture_are_in_one_group(tmp_path):
    draw(tmp_path, 3)
    for folder in ("images/COVID-19", "masks"):
        (tmp_path / folder / "9.jpg").write_bytes((tmp_path / folder / "0.jpg").read_bytes())
    table, pixels, _ = read_sources({"a": tmp_path / "masks"}, {"a": tmp_path / "images"}, {}, 96)
    groups = training.groups_of(table, pixels, SETTINGS)
    assert groups[0] == groups[3] and len(set(groups)) == 3


def test_real_masks_fit_their_images(real_data):
    """Those of the shared data: each of the size of its image, and of lungs."""
    folder = real_data / "covid19-mini"
    table, _, masks = read_sources(
        {"v7": folder / "lung_masks"}, {"v7": folder / "COVID-19"}, {}, 128
    )
    assert len(table) == 38 and (table.reason == "").all()
    assert [implausible(mask) for mask in masks] == [""] * 38


# The net


def outputs(folder):
    names = {"net": "net.safetensors", "pairs": "p.csv", "dice": "d.csv", "sheet": "s.jpg"}
    return {name: folder / file for name, file in names.items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Of several, threads of so small a net would mostly wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with 24 phantoms, and in out/ a net that learnt their lungs."""
    folder = tmp_path_factory.mktemp("lungs")
    draw(folder, 24)
    train_lungs({"v7": folder / "masks"}, {"v7": folder / "images"}, {}, SETTINGS,
                outputs(folder / "out"))  # fmt: skip
    return folder


def test_a_short_training_learns_lungs(study):
    """Better than the ellipse, on phantoms of other folds."""
    pairs, summary = pd.read_csv(study / "out/p.csv"), pd.read_csv(study / "out/d.csv")
    assert pairs.reason.isna().all() and sorted(set(pairs.fold)) == [0, 1]
    whole = summary[summary.of == "all"].iloc[0]
    assert whole.dice == pytest.approx(pairs.dice.mean(), abs=1e-4) and whole.n == 24
    assert whole.dice_low < whole.dice < whole.dice_high
    assert summary.name.tolist() == ["all", "v7", "COVID-19"]
    by_ellipse = [
        training.dice(np.asarray(Image.open(path)).astype(bool), ellipse(96))
        for path in sorted((study / "masks").iterdir())
    ]
    assert whole.dice > np.mean(by_ellipse) + 0.1
    assert Image.open(study / "out/s.jpg").format == "JPEG"


def test_the_same_seed_gives_the_same_bytes(study, tmp_path):
    settings = SETTINGS | {"steps": 3}
    sources = {"v7": study / "masks"}, {"v7": study / "images"}, {}
    for name in ("one", "other"):
        train_lungs(*sources, settings, outputs(tmp_path / name))
    one, other = ([path.read_bytes() for path in outputs(tmp_path / name).values()]
                  for name in ("one", "other"))  # fmt: skip
    assert one == other


def test_too_few_masks_are_an_error(study, tmp_path):
    sources = {"v7": study / "masks"}, {"v7": study / "images"}, {}
    with pytest.raises(InputError, match="of 24 patients or pictures, expected at least 26"):
        train_lungs(*sources, SETTINGS | {"folds": 13}, outputs(tmp_path))


def test_image_and_mask_are_changed_alike():
    """By chance, and of the image what the mask covers is still bright where it was."""
    mask = np.zeros((96, 96), bool)
    mask[20:70, 15:40] = True
    image, shares = np.where(mask, 200, 40).astype(np.uint8), []
    for seed in range(20):
        varied, inside = vary(image, mask, 64, np.random.default_rng(seed))
        assert varied.shape == inside.shape == (64, 64) and varied.dtype == np.uint8
        values = [varied[inside].astype(float).mean(), varied[~inside].astype(float).mean()]
        shares.append(abs(values[0] - values[1]))
    assert np.mean(shares) > 30


def test_two_parts_count_and_holes_are_filled():
    chances = np.zeros((32, 32), np.float32)
    chances[4:28, 3:13] = chances[4:28, 18:29] = 1
    expected = outline(chances, (64, 48))
    chances[10:12, 6:8] = 0  # a hole
    chances[0:2, 15:17] = 1  # a third part
    found = outline(chances, (64, 48))
    assert found.shape == (48, 64) and (found == expected).all()
    assert found[30, 14] and not found[1, 32]
    assert not outline(np.zeros((32, 32), np.float32), (64, 48)).any()


def test_other_nets_are_refused(tmp_path):
    description = {"architecture": "resnet18", "outputs": ["a"], "image_size": 64}
    save_net(tmp_path / "net.safetensors", new_net("resnet18"), description)
    with pytest.raises(NetError, match="expected one that finds lungs"):
        load_lung_net(tmp_path)
    with pytest.raises(NetError, match="'tu-nothing': segmentation-models-pytorch has none"):
        create("tu-nothing")


# segment_lungs


def test_masks_of_anyone_s_images(study, tmp_path, capsys):
    """Whatever they are stored as; a bad file costs the others nothing."""
    picture = np.asarray(Image.open(study / "images/COVID-19/0.jpg"))
    wide = cv2.resize(picture, (170, 130))
    images, out = tmp_path / "images", tmp_path / "out"
    Image.fromarray(picture.astype(np.uint16) * 257).save(save(images / "deep.png", picture))
    Image.fromarray(wide).convert("RGB").save(save(images / "a/colour.jpg", wide), "JPEG")
    save(images / "a/colour.png", picture)
    save(images / "black.png", np.zeros((80, 90), np.uint8))
    (images / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    segment_lungs(study / "out", [images], out)
    table = pd.read_csv(out / "lungs.csv", keep_default_na=False).set_index("mask")
    sizes = {name: Image.open(out / name).size for name in table.index if name}
    assert sizes == {
        "deep.png": (96, 96), "a/colour.png": (170, 130), "a/colour.png.png": (96, 96),
        "black.png": (90, 80),
    }  # fmt: skip
    mask = np.asarray(Image.open(out / "deep.png"))
    assert set(np.unique(mask)) == {0, 255}
    drawn = np.asarray(Image.open(study / "masks/0.jpg")).astype(bool)
    assert training.dice(mask > 0, drawn) > 0.8
    assert "almost constant" in table.warnings["black.png"]
    assert table.error[""] != "" and "1 of 5 images can't be read" in capsys.readouterr().err


def test_lungs_that_cannot_be_are_said():
    mask = square()
    assert implausible(mask) == ""
    assert implausible(mask & (np.arange(40) < 20)) == "lungs on one side only"
    assert "cover 2% of the image" in implausible(mask & (np.indices(mask.shape)[0] < 10) & mask.T)
    assert "cover 100% of the image" in implausible(np.ones_like(mask))


def test_a_mask_that_cannot_be_written_is_no_unreadable_image(study, tmp_path, monkeypatch):
    """On a full disk the run stops, as every further mask would be missing, too."""

    def disk_is_full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("segment_lungs.save_mask", disk_is_full)
    Image.new("L", (64, 64), 90).save(tmp_path / "a.png")
    with pytest.raises(OSError, match="No space left"):
        segment_lungs(study / "out", [tmp_path / "a.png"], tmp_path / "out")


def test_segment_lungs_runs_by_hand(study, tmp_path):
    script = [sys.executable, str(ROOT / "workflow_scripts/segment_lungs.py")]
    given = ["--net", str(study / "out/net.safetensors"), "--out", str(tmp_path / "out")]
    run = subprocess.run(
        [*script, *given, "--images", str(tmp_path)], capture_output=True, text=True
    )
    assert run.returncode == 1 and f"error: no image in {tmp_path}" in run.stderr


# Lungs of image sets, and audits


def image_set(folder, name, pixels, names, classes):
    images = ImageSet(folder / f"{name}.npy", folder / f"{name}.csv")
    save_images(images, pixels, pd.DataFrame({"image": names, "class": classes}))
    return images


def test_a_net_finds_the_lungs_of_image_sets(study, tmp_path):
    """Each image once, at the size of the arrays."""
    names = [f"COVID-19/{number}.jpg" for number in range(3)]
    pixels = np.stack([np.asarray(Image.open(study / "images" / name)) for name in names])
    sets = [
        image_set(tmp_path, "a", pixels[:2], names[:2], "covid19"),
        image_set(tmp_path, "b", pixels[1:], names[1:], "covid19"),
    ]
    out = ImageSet(tmp_path / "lungs.npz", tmp_path / "lungs.csv")
    find_lungs([images.array for images in sets], [images.table for images in sets], out,
               net=study / "out/net.safetensors", dice=study / "out/d.csv")  # fmt: skip
    lungs = Lungs(out)
    assert lungs.of(names[::-1], 96).shape == (3, 96, 96)
    drawn = [Image.open(study / f"masks/{number}.jpg") for number in range(3)]
    found = zip(lungs.of(names, 96), map(np.asarray, drawn), strict=True)
    assert np.mean([training.dice(*both) for both in found]) > 0.8
    assert re.fullmatch(r"net, Dice 0\.\d\d \[0\.\d\d, 0\.\d\d\]", lungs.describe(names))
    with pytest.raises(InputError, match="no lungs of image 'x'"):
        lungs.of(["x"], 96)
    with pytest.raises(InputError, match="lungs at 96 pixels, expected 64"):
        lungs.of(names, 64)


def test_masks_are_the_lungs_of_image_sets(tmp_path):
    """Where there is none, or none that fits or can be of lungs, the ellipse is in its place."""
    drawn = draw(tmp_path, 4)
    save(tmp_path / "masks/3.jpg", drawn[3] & (np.indices((96, 96))[0] < 30))
    names = [f"COVID-19/{number}.jpg" for number in range(5)]
    images = image_set(tmp_path, "a", np.zeros((5, 48, 48), np.uint8), names, "covid19")
    manifest = pd.DataFrame({"image": names, "width": 96, "height": [96, 96, 95, 96, 96]})
    manifest.to_csv(tmp_path / "manifest.csv", index=False)
    out = ImageSet(tmp_path / "lungs.npz", tmp_path / "lungs.csv")
    given = {"masks": tmp_path / "masks", "manifest": tmp_path / "manifest.csv"}
    find_lungs([images.array], [images.table], out, **given)
    table = pd.read_csv(out.table, keep_default_na=False)
    assert table.lungs.tolist() == ["masks"] * 2 + ["ellipse"] * 3
    reasons = ["the mask differs from its image in size", "lungs cover", "no mask"]
    assert [
        said[: len(words)] for said, words in zip(table.reason[2:], reasons, strict=True)
    ] == reasons
    assert Lungs(out).describe(names) == "ellipse; masks in 2 of 5"
    assert (Lungs(out).of(names[4:], 48) == ellipse(48)).all()
    grown = Lungs(out).of(names[:2], 48)
    assert np.mean(grown == drawn[:2, ::2, ::2]) > 0.97
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="found a mask that fits none of 5 images"):
        find_lungs([images.array], [images.table], out, **given | {"masks": tmp_path / "empty"})


def own_lungs(folder, names, size=40):
    """Lungs that are no ellipse, of images by name: small squares, on the left or on the right."""
    masks = np.zeros((len(names), size, size), bool)
    masks[::2, 2:10, 2:20] = masks[1::2, 30:38, 18:38] = True
    lungs = ImageSet(folder / "lungs.npz", folder / "lungs.csv")
    save_lungs(lungs, masks, pd.DataFrame({"image": names, "lungs": "masks"}))
    return lungs, masks


class Brightness(nn.Module):
    """Says COVID-19 where an image is bright."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(1, 3)
        with torch.no_grad():
            self.fc.weight[:, 0] = torch.tensor([-1.0, 0.0, 1.0])
            self.fc.bias[:] = torch.tensor([0.0, -9.0, 0.0])

    def forward(self, x):
        return self.fc(x[:, :1].amax(dim=(2, 3)))


def test_regions_blacks_out_the_lungs_of_each_image(tmp_path, monkeypatch):
    """They tell the class, and lie elsewhere in each: the ellipse would leave them."""
    names = [f"{number}.png" for number in range(20)]
    lungs, masks = own_lungs(tmp_path, names)
    classes = ["covid19"] * 10 + ["normal"] * 10
    pixels = np.where(masks & (np.arange(20) < 10)[:, None, None], 250, 20).astype(np.uint8)
    images = image_set(tmp_path, "t", pixels, names, classes)
    loaded = Brightness(), {"outputs": ["normal", "viral_pneumonia", "covid19"]}
    monkeypatch.setattr("audit_regions.load_net", lambda _: loaded)
    out = AuditOutputs(*(tmp_path / f"regions{end}" for end in (".csv", ".finding.csv", ".svg")))
    for given, expected in ((lungs, 0.5), (None, 1)):
        audit_regions({"netA": None}, images, images, 0, out, lungs=given)
        found = pd.read_csv(out.table).set_index(["output_layer", "region"])
        assert found.accuracy["as trained", "all"] == 1
        assert found.accuracy["as trained", "without lungs"] == expected
        assert set(found.lungs) == {"masks" if given else "ellipse"}
        said = pd.read_csv(out.finding).result[0]
        assert f"with the lungs ({'masks' if given else 'ellipse'}) blacked out" in said


def test_nuisance_says_what_the_outline_tells(tmp_path):
    """The class, here: lungs of one lie elsewhere; nothing else differs."""
    names = [f"{number}.png" for number in range(40)]
    lungs, _ = own_lungs(tmp_path, names)
    pixels = np.random.default_rng(0).integers(90, 110, (40, 40, 40)).astype(np.uint8)
    classes = ["covid19", "normal"] * 20
    rows = {"image": names, "bytes": 9, "width": 40, "height": 40, "tint": 0.0, "mode": "L"}
    pd.DataFrame(rows).to_csv(tmp_path / "manifest.csv", index=False)
    sets = [
        image_set(tmp_path, name, pixels[part], names[part], classes[part])
        for name, part in (("a", slice(16)), ("b", slice(16, 20)), ("c", slice(20, 40)))
    ]
    out = AuditOutputs(*(tmp_path / f"nuisance{end}" for end in (".csv", ".finding.csv", ".svg")))
    audit_nuisance(tmp_path / "manifest.csv", *sets, 0, out, lungs=lungs)
    table = pd.read_csv(out.table).set_index("from")
    assert table.balanced_accuracy[OUTLINE] == 1 and (table.lungs == "masks").all()
    result = pd.read_csv(out.finding).result[0]
    assert "of 4 kinds of input without lungs (masks); 100% from the outline of the lungs" in result


def test_relevance_inside_the_lungs_of_each_image(tmp_path):
    names = [f"{number}.png" for number in range(4)]
    lungs, masks = own_lungs(tmp_path, names)
    np.savez(tmp_path / "maps.npz", grad_cam=np.where(masks, 1.0, 0.0))
    rows = {"image": names, "class": "covid19", "method": "grad_cam"}
    pd.DataFrame(rows).to_csv(tmp_path / "maps.csv", index=False)
    out = AuditOutputs(*(tmp_path / f"relevance{end}" for end in (".csv", ".finding.csv", ".svg")))
    for given, area in ((lungs, masks.mean()), (None, ellipse(40).mean())):
        audit_relevance(tmp_path / "maps.npz", tmp_path / "maps.csv", 0, out, lungs=given)
        row = pd.read_csv(out.table).iloc[0]
        assert row.area == pytest.approx(area)
        assert row.share_inside == 1 if given else row.share_inside < 0.6
        assert row.lungs == ("masks" if given else "ellipse")


def test_other_files_are_no_lungs(tmp_path):
    lungs, _ = own_lungs(tmp_path, ["a", "b"])
    pd.DataFrame({"image": ["a"], "lungs": "masks"}).to_csv(lungs.table, index=False)
    with pytest.raises(InputError, match=r"found the arrays \['masks'\] and 1 rows"):
        Lungs(lungs)
