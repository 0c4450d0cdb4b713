import tarfile
import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from cxr.cli import InputError
from cxr.data.chestxray14 import (
    FINDINGS,
    LABELS,
    RADIOLOGISTS,
    read_boxes,
    read_labels,
    read_radiologists,
)
from cxr.data.decoding import read_grey
from cxr.data.images import cover
from cxr.data.lungs import implausible
from cxr.data.phantoms import BRIGHTEST, COVID19, MARKS, draw_frontal, draw_lateral, draw_marked
from draw_phantoms import draw_chestxray14, draw_covid19, draw_radiologists
from PIL import Image
from scipy import ndimage

HEADER = (
    b"Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    b"OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]\n"
)
CHESTXRAY14 = {"archives": 3, "patients": 40, "stored_size": 64}
COVID = {
    "normal": 6,
    "viral_pneumonia": 5,
    "covid19_images": 8,
    "laterals": 2,
    "stored_size": 256,
}


@pytest.fixture(scope="module")
def chestxray14(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chestxray14")
    draw_chestxray14(folder, **CHESTXRAY14, seed=0)
    return folder


@pytest.fixture(scope="module")
def covid19(tmp_path_factory):
    folder = tmp_path_factory.mktemp("covid19")
    draw_covid19(folder, folder, **COVID, seed=0)
    return folder


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def images_of(archive):
    """Images in an archive: name -> PIL image."""
    with tarfile.open(archive) as tar:
        return {
            member.name: Image.open(tar.extractfile(member)).copy()
            for member in tar
            if member.isfile()
        }


def test_chestxray14_has_the_files_of_nih(chestxray14):
    archives = [f"images_{number:03}.tar.gz" for number in (1, 2, 3)]
    assert sorted(files(chestxray14)) == [
        "BBox_List_2017.csv",
        "Data_Entry_2017_v2020.csv",
        *archives,
    ]
    content = (chestxray14 / "Data_Entry_2017_v2020.csv").read_bytes()
    assert content.startswith(HEADER) and content.endswith(b"\n") and b"\r" not in content
    assert {line.count(b",") for line in content.splitlines()[1:]} == {10}


def test_every_row_has_one_image_and_every_image_one_row(chestxray14):
    labels = read_labels(chestxray14 / "Data_Entry_2017_v2020.csv")
    images = [image for path in sorted(chestxray14.glob("*.gz")) for image in images_of(path)]
    assert images == [f"images/{image}" for image in labels.image]
    assert (labels.image.str[:8].astype(int) == labels.patient_id).all()
    assert (labels[list(LABELS)].sum() > 0).all()
    assert ((labels["No Finding"] == 1) == (labels[list(FINDINGS)].sum(axis=1) == 0)).all()


def test_patients_have_several_images_some_across_archives(chestxray14):
    in_archive = [
        {name[7:15] for name in images_of(path)} for path in sorted(chestxray14.glob("*.gz"))
    ]
    assert all(before & after for before, after in pairwise(in_archive))
    labels = read_labels(chestxray14 / "Data_Entry_2017_v2020.csv")
    assert set(labels.patient_id.value_counts()) == {1, 2, 3, 4}


def test_some_chestxray14_images_are_rgba_and_opaque(chestxray14):
    images = [image for path in chestxray14.glob("*.gz") for image in images_of(path).values()]
    modes = Counter(image.mode for image in images)
    assert set(modes) == {"L", "RGBA"} and modes["RGBA"] < 0.3 * len(images)
    assert {image.size for image in images} == {(64, 64)}
    alphas = [image.getchannel("A").getextrema() for image in images if image.mode == "RGBA"]
    assert set(alphas) == {(255, 255)}


def test_radiologists_see_most_of_what_the_labels_say(chestxray14, tmp_path):
    """Laid out as Google's table: the label table's columns, then four findings and the set."""
    labels = chestxray14 / "Data_Entry_2017_v2020.csv"
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_radiologists(tmp_path / name, labels, seed)
    first = (tmp_path / "a").read_text().splitlines()[0]
    assert first == HEADER.decode().strip() + (
        ",Fracture,Pneumothorax,Airspace opacity,Nodule or mass,Set Id"
    )
    content = [(tmp_path / name).read_bytes() for name in "abc"]
    assert content[0] == content[1] != content[2]
    seen, table = read_radiologists(tmp_path / "a"), read_labels(labels).set_index("image")
    assert 0.5 < len(seen) / len(table) < 0.8
    table = table.loc[seen.index]
    for finding, names in RADIOLOGISTS.items():
        same = (seen[finding] == table[[*names]].any(axis=1)).mean()
        assert 0.75 < same < 1, finding


def test_covid19_has_the_files_of_kaggle(covid19):
    found = files(covid19)
    names = {
        "NORMAL": [f"NORMAL ({number}).png" for number in range(1, 7)],
        "Viral Pneumonia": [f"Viral Pneumonia ({number}).png" for number in range(1, 6)],
        "COVID-19": [
            f"COVID-19{'' if number == 4 else ' '}({number}).png" for number in range(1, 11)
        ],
    }
    images = {f"{folder}/{name}" for folder, listed in names.items() for name in listed}
    masks = {name for name in found if name.startswith(("masks/", "lung_masks/"))}
    assert {name for name in set(found) - masks if name.endswith(".png")} == images
    assert set(found) - masks - images == {
        "COVID-19.metadata.xlsx",
        "NORMAL.metadata.xlsx",
        "Viral Pneumonia.matadata.xlsx",
        "README.md.txt",
        "lateral_views.csv",
        "text_boxes.csv",
        "collection.csv",
    }


def test_metadata_lists_every_image(covid19):
    table = pd.read_excel(covid19 / "COVID-19.metadata.xlsx")
    assert list(table) == ["FILE NAME", "FORMAT", "SIZE", "URL"]
    numbers = range(1, len(list((covid19 / "COVID-19").iterdir())) + 1)
    assert table["FILE NAME"].tolist() == [f"COVID-19({number})" for number in numbers]


def test_lateral_views_are_covid19_images(covid19):
    laterals = pd.read_csv(covid19 / "lateral_views.csv")
    assert list(laterals) == ["image", "reason"] and len(laterals) == 2
    assert laterals.image.str.startswith("COVID-19/").all()
    assert all((covid19 / image).is_file() for image in laterals.image)


def test_every_box_is_bright_inside_and_nothing_is_bright_outside(covid19):
    boxes = pd.read_csv(covid19 / "text_boxes.csv")
    assert list(boxes) == ["image", "x0", "y0", "x1", "y1", "text"]
    for path in covid19.glob("[CNV]*/*.png"):
        image = read_grey(path)
        of_image = boxes[boxes.image == str(path.relative_to(covid19))]
        corners = of_image[["x0", "y0", "x1", "y1"]].to_numpy()
        assert all(image.crop(tuple(box)).getextrema()[1] > 245 for box in corners)
        assert np.asarray(cover(image, corners)).max() <= BRIGHTEST + 1  # 1: a tint is rounded


def test_words_are_in_half_of_the_covid19_images_alone(covid19):
    boxes = pd.read_csv(covid19 / "text_boxes.csv")
    words = boxes[boxes.text.str.len() > 1]
    assert words.image.nunique() == 5 and words.image.str.startswith("COVID-19/").all()
    seduto = words[words.text == "SEDUTO"]
    assert len(seduto) and (seduto[["x1", "y1"]] <= 128).all(axis=None)
    assert set(boxes.text[boxes.text.str.len() == 1]) <= {"L", "R"}


def test_tint_is_of_covid19_alone_and_vanishes_in_grey(covid19):
    tinted = []
    for path in covid19.glob("[CNV]*/*.png"):
        red, green, blue = np.asarray(Image.open(path).convert("RGB"), float).transpose(2, 0, 1)
        if (red != blue).any():
            tinted.append(path.parent.name)
            assert np.abs(np.asarray(read_grey(path)) - green).max() <= 4
    assert set(tinted) == {"COVID-19"}


def test_a_seed_gives_the_same_bytes_and_another_seed_others(chestxray14, covid19, tmp_path):
    time.sleep(2.1)  # more than the dates in zips are exact to
    for name, seed in (("same", 0), ("other", 1)):
        draw_chestxray14(tmp_path / name / "nih", **CHESTXRAY14, seed=seed)
        draw_covid19(tmp_path / name / "kaggle", tmp_path / name / "kaggle", **COVID, seed=seed)
    for drawn, folder in ((chestxray14, "nih"), (covid19, "kaggle")):
        assert files(tmp_path / "same" / folder) == files(drawn)
        assert files(tmp_path / "other" / folder) != files(drawn)


def test_each_finding_has_a_mark_that_shows():
    assert set(MARKS) == set(FINDINGS)
    for mark in [*MARKS.values(), COVID19]:
        clear, ill = (
            draw_frontal(marks, 64, np.random.default_rng(0)).astype(int) for marks in ([], [mark])
        )
        assert ill.shape == (64, 64) and np.abs(ill - clear).max() > 20


@pytest.mark.parametrize("name", [*MARKS, "COVID-19"])
def test_a_mask_is_where_its_mark_changes_the_picture(name):
    mark = MARKS.get(name, COVID19)
    picture, shown = draw_marked([mark], 128, np.random.default_rng(2))
    clear, _ = draw_marked([mark._replace(strength=1e-6)], 128, np.random.default_rng(2))
    change = np.abs(picture.astype(int) - clear)
    assert shown.shape == (1, 128, 128) and shown.any() and shown.mean() < 0.5
    assert change[shown[0]].min() > 5 and change[shown[0]].mean() > 25
    assert change[~shown[0]].mean() < 6


def test_every_boxed_finding_has_a_box_that_its_image_has_the_label_of(chestxray14):
    boxes = read_boxes(chestxray14 / "BBox_List_2017.csv")
    labels = read_labels(chestxray14 / "Data_Entry_2017_v2020.csv").set_index("image")
    assert all(labels.loc[image, finding] == 1 for image, finding in boxes.values[:, :2])
    names = set(boxes.finding)
    assert names < set(FINDINGS) and len(names) == 8
    listed = boxes.groupby("finding").image.nunique()
    assert (listed / labels[sorted(names)].sum()).min() > 0.6, "few are hidden behind the heart"


def test_frontal_images_have_masks_of_their_lungs(covid19):
    """Two dark fields, brighter around; side views have none."""
    laterals = set(pd.read_csv(covid19 / "lateral_views.csv").image)
    folder = covid19 / "lung_masks"
    masks = {str(path.relative_to(folder)) for path in folder.glob("*/*")}
    images = {str(path.relative_to(covid19)) for path in covid19.glob("[CNV]*/*.png")}
    assert masks == images - laterals
    for mask in masks:
        lungs = np.asarray(read_grey(folder / mask)) > 0
        pixels = np.asarray(read_grey(covid19 / mask))
        assert implausible(lungs) == "" and ndimage.label(lungs)[1] == 2
        if mask.startswith("NORMAL"):
            around = ndimage.binary_dilation(lungs, iterations=4) & ~lungs
            assert pixels[lungs].mean() < pixels[around].mean()


def test_opacities_have_masks_of_their_image_s_size(covid19):
    masks = {str(path.relative_to(covid19 / "masks")) for path in covid19.glob("masks/*/*")}
    laterals = set(pd.read_csv(covid19 / "lateral_views.csv").image)
    ill = {str(p.relative_to(covid19)) for p in covid19.glob("[CV]*/*.png")}
    assert masks == ill - laterals
    for mask in masks:
        assert np.unique(read_grey(covid19 / "masks" / mask)).tolist() == [0, 255]
        assert read_grey(covid19 / "masks" / mask).size == read_grey(covid19 / mask).size


def test_too_few_patients_for_the_archives_are_refused(tmp_path):
    with pytest.raises(InputError, match="1 patients are too few for 9 archives"):
        draw_chestxray14(tmp_path, archives=9, patients=1, stored_size=16, seed=0)


def test_a_lateral_view_leaves_the_sides_black():
    lateral = draw_lateral(64, np.random.default_rng(0))
    assert lateral.dtype == np.uint8 and lateral[20:44, [0, -1]].max() < 40
