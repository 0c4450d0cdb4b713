"""The COVID-19 database: what its images are, which are the same, whose and which view they are."""

import re
import shutil

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
Image = pytest.importorskip("PIL.Image")
ImageOps = pytest.importorskip("PIL.ImageOps")
pytest.importorskip("imagehash")
from cxr.cli import InputError
from cxr.data.decoding import image_files, read_grey
from cxr.data.duplicates import find_copies
from cxr.data.images import draw_word
from draw_phantoms import draw_covid19
from find_duplicates import find_duplicates
from inspect_covid19 import inspect_covid19
from match_metadata import match_metadata, number_of
from match_originals import match_originals, patient_of
from measure_class_leaks import measure_class_leaks
from propose_lateral_views import n_lateral, propose_lateral_views

FOLDERS = {"normal": "NORMAL", "viral_pneumonia": "Viral Pneumonia", "covid19": "COVID-19"}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A drawn database, with the lists and the collection beside it."""
    folder = tmp_path_factory.mktemp("covid19")
    draw_covid19(folder / "database", folder, 12, 12, 10, 3, 128, seed=0)
    return folder


@pytest.fixture
def database(phantoms, tmp_path):
    """A copy of it that a test may change."""
    return shutil.copytree(phantoms / "database", tmp_path / "database")


def list_images(database, out):
    rows = [
        (f"{folder}/{file.as_posix()}", name)
        for name, folder in FOLDERS.items()
        for file in image_files(database / folder)
    ]
    pd.DataFrame(rows, columns=["image", "class"]).to_csv(out, index=False)
    return out


def inspect(database, folder, most=0.1, **options):
    images = list_images(database, folder / "images.csv")
    inspect_covid19(database, images, most, folder / "manifest.csv", threads=2, **options)
    return pd.read_csv(folder / "manifest.csv", keep_default_na=False)


def test_manifest_describes_each_image(database, tmp_path):
    image = Image.open(database / "NORMAL/NORMAL (1).png").convert("L")
    image.save(database / "NORMAL/NORMAL (2).png")
    image.convert("RGB").save(database / "NORMAL/NORMAL (3).png", compress_level=1)
    table = inspect(database, tmp_path).set_index("image")
    grey, colour = table.loc["NORMAL/NORMAL (2).png"], table.loc["NORMAL/NORMAL (3).png"]
    assert (grey["mode"], colour["mode"]) == ("L", "RGB")
    assert int(grey.width) == int(grey.height) == 128
    assert grey.pixels_sha256 == colour.pixels_sha256
    assert table.pixels_sha256.nunique() >= len(table) - 2
    tinted = table[table.index.str.startswith("COVID")].tint.astype(float) > 1
    assert 0 < tinted.sum() < len(tinted)
    assert (table[~table.index.str.startswith("COVID")].tint.astype(float) == 0).all()


def test_unreadable_images_are_named_counted_and_limited(database, tmp_path, capsys):
    (database / "NORMAL/NORMAL (1).png").write_bytes(b"text")
    table = inspect(database, tmp_path).set_index("image")
    assert table.loc["NORMAL/NORMAL (1).png"].reason == "the file is no image"
    assert "1 of 37 images can't be used, first NORMAL/NORMAL (1).png" in capsys.readouterr().err
    with pytest.raises(InputError, match=r"at most 1.00% may be so"):
        inspect(database, tmp_path, most=0.01)


def test_what_a_decoder_raises_or_we_get_wrong_costs_no_other_row(
    database, tmp_path, capsys, monkeypatch
):
    def broken(image):
        return 1 / 0 if image.size == (50, 50) else 0.0

    Image.new("L", (50, 50)).save(database / "NORMAL/NORMAL (1).png")
    monkeypatch.setattr("inspect_covid19.tint", broken)
    table = inspect(database, tmp_path).set_index("image")
    assert len(table) == 37
    reason = table.loc["NORMAL/NORMAL (1).png"].reason
    assert reason == "defect of this program: ZeroDivisionError, see its log"
    assert (table.reason != "").sum() == 1
    assert "return 1 / 0" in capsys.readouterr().err


def test_guesses_are_in_the_manifest_and_the_log(database, tmp_path, capsys):
    names = [f"NORMAL/NORMAL ({number}).png" for number in (1, 2)]
    for name in names:
        twelve = np.asarray(Image.open(database / name).convert("L")).astype(np.uint16) * 16
        Image.fromarray(twelve).save(database / name)
    warnings = inspect(database, tmp_path).set_index("image").warnings
    assert (warnings != "").sum() == 2 and warnings[names[0]].endswith("read as 12 bits")
    (line,) = [text for text in capsys.readouterr().err.splitlines() if "guessed" in text]
    assert f"{names[0]}: depth guessed" in line and line.endswith("(1 more like it)")


def test_another_version_of_the_database_is_refused(database, tmp_path):
    with pytest.raises(InputError, match="13 images of class covid19, expected 219"):
        inspect(database, tmp_path, expected=[("normal", 12), ("covid19", 219)])


SETTINGS = {"candidates": 2, "correlation": 0.97, "unsure": 0.9}  # phantoms look much alike


def duplicates_of(database, folder, **settings):
    """The pairs that are called the same, by image and duplicate, and the unsure ones."""
    inspect(database, folder)
    paths = folder / "pairs.csv", folder / "unsure.csv"
    tables = {"out": paths[0], "out_unsure": paths[1]}
    find_duplicates(database, folder / "manifest.csv", **SETTINGS | settings, **tables)
    return [pd.read_csv(path).set_index(["image", "duplicate"]) for path in paths]


def test_duplicates_are_found_and_others_are_not(database, tmp_path):
    first = Image.open(database / "NORMAL/NORMAL (1).png").convert("L")
    first.save(database / "Viral Pneumonia/Viral Pneumonia (1).png")
    smaller = first.resize((100, 100)).resize((128, 128))
    brighter = smaller.point(lambda value: min(255, int(1.1 * value) + 6))
    brighter.save(database / "NORMAL/NORMAL (2).png")
    pairs, unsure = duplicates_of(database, tmp_path)
    exact = pairs.loc[("NORMAL/NORMAL (1).png", "Viral Pneumonia/Viral Pneumonia (1).png")]
    assert (exact.kind, exact.duplicate_class) == ("exact", "viral_pneumonia")
    assert pairs.loc[("NORMAL/NORMAL (1).png", "NORMAL/NORMAL (2).png")].kind == "near"
    assert (pairs.kind == "exact").sum() == 1
    assert len(pairs) == 3, "the two others are copies of each other, too"
    assert unsure.correlation.between(0.9, 0.97, inclusive="left").all()


EDITS = {
    "contrast": ImageOps.equalize,
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "rotated 5.0 degrees": lambda image: image.rotate(5, Image.Resampling.BICUBIC),
    "duplicate cropped to 64% of image": lambda image: image.crop((51, 51, 461, 461)),
    "duplicate framed": lambda image: ImageOps.expand(image, 50, 0),
    "annotated": lambda image: draw_word(image, "PORTABLE", (0.02, 0.02), 0.08),
}


def test_edited_copies_of_x_rays_are_found(real_data):
    """Each, and no other of five images; one copy of each kind, with what was done to it."""
    folder = real_data / "covid19-mini/NORMAL"
    images = [read_grey(folder / f"NORMAL ({number}).png") for number in range(1, 6)]
    copies = [edit(images[3]) for edit in EDITS.values()]
    arrays = [[np.asarray(image) for image in group] for group in (images, copies)]
    found = find_copies(*arrays, candidates=7, least=0.87)
    assert [(pair.first, pair.second) for pair in found] == [(3, place) for place in range(7)]
    changes = [pair.change for pair in found]
    for expected, change in zip(EDITS, changes, strict=True):
        assert (
            re.sub(r"6[345]%", "64%", re.sub(r"(4.9|5.1) degrees", "5.0 degrees", change))
            == expected
        )
    assert found == find_copies(*arrays, candidates=7, least=0.87), "the same every time"


def test_copies_of_nothing_and_of_pictures_without_contrast():
    flat = np.full((4, 64, 64), 90, np.uint8)
    assert find_copies([], flat, candidates=1, least=0) == []
    assert find_copies(flat, flat[:0], candidates=1, least=0) == []
    assert find_copies(flat, candidates=10, least=0) == []


def test_as_many_equal_files_as_there_are_get_their_pairs(database, tmp_path):
    """More than candidates, so that not every pair is compared closely."""
    for number in range(2, 7):
        shutil.copy(database / "NORMAL/NORMAL (1).png", database / f"NORMAL/NORMAL ({number}).png")
    pairs, _ = duplicates_of(database, tmp_path, candidates=1)
    assert (pairs.kind == "exact").sum() == 15


def test_real_duplicates_are_found_and_no_other(real_data, tmp_path):
    twice = {
        "NORMAL/NORMAL (166).png": "NORMAL/NORMAL (172).png",
        "COVID-19/COVID-19 (17).png": "COVID-19/COVID-19 (35).png",
        "COVID-19/COVID-19 (2).png": "COVID-19/COVID-19 (91).png",
    }
    others = [f"{folder}/{folder} ({n}).png" for folder in FOLDERS.values() for n in range(51, 59)]
    for name in [*twice, *twice.values(), *others]:
        (tmp_path / "real" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(real_data / "covid19-mini" / name, tmp_path / "real" / name)
    pairs, _ = duplicates_of(tmp_path / "real", tmp_path, correlation=0.87, unsure=0.75)
    assert set(map(frozenset, pairs.index)) == set(map(frozenset, twice.items()))
    assert pairs.kind.tolist().count("exact") == 1


@pytest.mark.parametrize("name", ["COVID-19 (7)", "COVID-19(7)", "NORMAL-7"])
def test_names_of_files_and_tables_meet_by_number(name):
    assert number_of(name) == 7


def test_patients_and_views_come_through_pages(phantoms, database, tmp_path):
    inspect(database, tmp_path)
    out = tmp_path / "metadata.csv"
    match_metadata(database, tmp_path / "manifest.csv", phantoms / "collection.csv", None, out)
    table = pd.read_csv(out, keep_default_na=False)
    covid = table[table["class"] == "covid19"]
    assert (covid.patient_id != "").all()
    assert covid.patient_id.nunique() == 10, "three patients have a frontal and a lateral view"
    assert (table[table["class"] == "normal"].patient_id == "").all()
    match_metadata(database, tmp_path / "manifest.csv", None, None, out)
    assert pd.read_csv(out).patient_id.isna().all()


def test_patients_come_through_originals(database, tmp_path):
    """Originals are larger, JPEG, and named for their patients; one is of another picture."""
    inspect(database, tmp_path)
    names = {
        "NORMAL/NORMAL (1).png": ("IM-0115-0001", "IM-0115"),
        "NORMAL/NORMAL (2).png": ("IM-0115-0002", "IM-0115"),
        "Viral Pneumonia/Viral Pneumonia (3).png": ("person7_virus_1", "person7"),
        "COVID-19/COVID-19 (1).png": ("scan", ""),
    }
    originals = tmp_path / "originals" / "train"
    originals.mkdir(parents=True)
    for image, (name, _) in names.items():
        with Image.open(database / image) as picture:
            picture.convert("L").resize((500, 400)).save(originals / f"{name}.jpeg", quality=80)
    noise = np.random.default_rng(0).integers(0, 256, (300, 300)).astype(np.uint8)
    Image.fromarray(noise).save(originals / "person9_virus_9.jpeg")
    (originals / "person8_virus_8.jpeg").write_bytes(b"no image")
    manifest, out = tmp_path / "manifest.csv", tmp_path / "originals.csv"
    match_originals(database, manifest, tmp_path / "originals", 1, 0.97, 2, out)
    pairs = pd.read_csv(out, keep_default_na=False).set_index("image")
    assert pairs.original.to_dict() == {
        image: f"train/{name}.jpeg" for image, (name, _) in names.items()
    }
    assert pairs.patient_id.to_dict() == {image: patient for image, (_, patient) in names.items()}
    match_metadata(database, manifest, None, out, tmp_path / "metadata.csv")
    table = pd.read_csv(tmp_path / "metadata.csv", keep_default_na=False).set_index("image")
    assert table.patient_id["NORMAL/NORMAL (2).png"] == "IM-0115"
    assert (table.patient_id != "").sum() == 3


def test_empty_folder_of_originals_is_an_error(database, tmp_path):
    inspect(database, tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in this folder"):
        match_originals(
            database, tmp_path / "manifest.csv", tmp_path / "empty", 3, 0.97, 1, tmp_path / "o.csv"
        )


@pytest.mark.parametrize(
    ("name", "patient"),
    [
        ("person1946_bacteria_4874", "person1946"),
        ("IM-0115-0001", "IM-0115"),
        ("NORMAL2-IM-0501-0001", "NORMAL2-IM-0501"),
        ("VIRUS-1980593-0001", "VIRUS-1980593"),
        ("00000013_026", "00000013"),
        ("COVID-19", ""),
    ],
)
def test_names_tell_patients(name, patient):
    assert patient_of(name) == patient


def test_another_collection_is_refused(phantoms, database, tmp_path):
    inspect(database, tmp_path)
    (tmp_path / "other.csv").write_text("patientid,view\n1,PA\n")
    with pytest.raises(InputError, match="no column 'modality'"):
        match_metadata(
            database,
            tmp_path / "manifest.csv",
            tmp_path / "other.csv",
            None,
            tmp_path / "out.csv",
        )


def test_the_drawn_lateral_views_are_proposed(phantoms, database, tmp_path):
    inspect(database, tmp_path)
    manifest, metadata = tmp_path / "manifest.csv", tmp_path / "metadata.csv"
    match_metadata(database, manifest, phantoms / "collection.csv", None, metadata)
    out, sheet = tmp_path / "lateral.csv", tmp_path / "lateral.jpg"
    propose_lateral_views(database, manifest, metadata, out, sheet)
    lateral = set(pd.read_csv(phantoms / "lateral_views.csv").image)
    assert set(pd.read_csv(out).image) == lateral
    assert Image.open(sheet).width > 1000


def test_real_lateral_views_look_least_frontal(real_data, tmp_path):
    """Of those on one page with a frontal view, the lateral one is always the least frontal."""
    folder = real_data / "covid19-mini"
    manifest = inspect(folder, tmp_path)
    source = pd.read_csv(folder / "provenance.csv")
    covid = source["class"] == "COVID-19"
    # A patient stands for a page: the views of the patient's images.
    views = (
        source[covid]
        .groupby("source_patient_id")["view"]
        .agg(lambda views: "|".join(sorted(views.fillna("PA"))))
    )
    patient = source.source_patient_id.where(covid)
    metadata = pd.DataFrame(
        {"image": source.file, "url": patient.astype(str), "views": patient.map(views).fillna("")}
    )
    metadata.to_csv(tmp_path / "metadata.csv", index=False)
    out = tmp_path / "lateral.csv"
    propose_lateral_views(
        folder, tmp_path / "manifest.csv", tmp_path / "metadata.csv", out, tmp_path / "sheet.jpg"
    )
    lateral = set(pd.read_csv(folder / "lateral_views.csv").file)
    proposed = set(pd.read_csv(out).image)
    assert len(manifest) == 609
    assert len(proposed & lateral) >= 10, lateral - proposed
    assert len(proposed - lateral) <= 1, proposed - lateral


def test_number_of_lateral_views_of_a_page():
    assert n_lateral("L|L|L|PA|PA|PA|PA", 9) == 4
    assert n_lateral("L|PA", 2) == 1
    assert n_lateral("L", 1) == 1
    assert n_lateral("PA|PA", 5) == 0


def test_tint_that_tells_the_class_is_measured(database, tmp_path):
    inspect(database, tmp_path)
    measure_class_leaks(tmp_path / "manifest.csv", tmp_path / "leaks.csv")
    leaks = pd.read_csv(tmp_path / "leaks.csv").set_index("property")
    assert leaks.loc["tinted", "covid19"] > 0
    assert leaks.loc["tinted", ["normal", "viral_pneumonia"]].tolist() == [0, 0]
    assert leaks.loc["tinted", "cramers_v"] > 0.3
    assert leaks.loc["square", "cramers_v"] == 0


def test_no_file_property_is_left_in_the_arrays(database):
    """The same picture stored grey, in colour and with 16 bits is the same array."""
    image = Image.open(database / "NORMAL/NORMAL (1).png").convert("L")
    wide = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    for number, stored in enumerate((image, image.convert("RGB"), image.convert("RGBA"), wide)):
        stored.save(database / f"{number}.png")
        assert (np.asarray(read_grey(database / f"{number}.png")) == np.asarray(image)).all()
