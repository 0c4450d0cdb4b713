"""Resizing, covering and normalising of grey images."""

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")
pd = pytest.importorskip("pandas")
from cxr.cli import InputError
from cxr.data.images import cover, normalise, to_square
from prepare_covid19 import check_inside, prepare_covid19, read_boxes


@pytest.fixture
def grey():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))


def test_resizing_is_pil_s_bilinear(grey):
    expected = np.asarray(grey.resize((16, 16), Image.Resampling.BILINEAR))
    assert (to_square(grey, 16) == expected).all()


def test_cover_blackens_the_box_and_nothing_else(grey):
    covered, before = np.asarray(cover(grey, [(3, 5, 10, 9)])), np.asarray(grey)
    assert not covered[5:9, 3:10].any()
    changed = covered != before
    changed[5:9, 3:10] = False
    assert not changed.any()


def test_normalise_matches_the_formula():
    pixels = np.full((1, 1, 1), 255, dtype=np.uint8)
    assert normalise(pixels)[0, 0, 0] == pytest.approx(
        [(1 - 0.485) / 0.229, (1 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    )


def test_words_are_covered_in_the_edited_test_images_alone(tmp_path, grey):
    rows = []
    for split in ("train", "val", "test"):
        name = f"NORMAL/NORMAL ({split}).png"
        (tmp_path / "NORMAL").mkdir(exist_ok=True)
        grey.save(tmp_path / name)
        rows.append((name, "normal", split, 7))
    pd.DataFrame(rows, columns=["image", "class", "split", "group"]).to_csv(tmp_path / "split.csv")
    boxes = [(row[0], 0, 0, 20, 20, "SEDUTO") for row in rows]
    columns = ["image", "x0", "y0", "x1", "y1", "text"]
    pd.DataFrame(boxes, columns=columns).to_csv(tmp_path / "boxes.csv", index=False)
    out = {
        name: tmp_path / f"{name}.npy" for name in ("train", "val", "test_unedited", "test_edited")
    }
    prepare_covid19(
        folder=tmp_path,
        split=tmp_path / "split.csv",
        size=40,
        text_boxes=tmp_path / "boxes.csv",
        out_boxes=tmp_path / "out_boxes.csv",
        **out,
    )
    pixels = {name: np.load(path)[0] for name, path in out.items()}
    for name in ("train", "val", "test_unedited"):
        assert (pixels[name] == np.asarray(grey)).all(), name
    assert not pixels["test_edited"][:20, :20].any()
    assert (pixels["test_edited"][20:] == np.asarray(grey)[20:]).all()
    for path in out.values():
        assert pd.read_csv(path.with_suffix(".csv")).group.tolist() == [7], "of intervals"
    assert pd.read_csv(tmp_path / "out_boxes.csv").origin.unique().tolist() == ["hand"]


def test_boxes_keep_their_origin(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text("image,x0,y0,x1,y1,text,origin\na.png,1,2,3,4,0012,ocr\n")
    row = read_boxes(path, {"a.png"}).iloc[0]
    assert (row.text, row.origin) == ("0012", "ocr")
    path.write_text("image,x0,y0,x1,y1,text,origin\n")
    assert read_boxes(path, {"a.png"}).empty


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("a.png,1,2,3,2", "empty box"),
        ("b.png,1,2,3,4", "'b.png' is not in the database"),
        ("a.png,1.5,2,3,4", "whole numbers of pixels"),
        ("a.png,1,2,,4", "line 2, 'a.png': found '' in the column 'x1'"),
        ("a.png,-1,2,3,4", "starts below 0"),
    ],
)
def test_what_is_no_box_is_refused(tmp_path, row, problem):
    path = tmp_path / "boxes.csv"
    path.write_text(f"image,x0,y0,x1,y1,text\n{row},A\n")
    with pytest.raises(InputError, match=problem):
        read_boxes(path, {"a.png"})


def test_a_box_outside_its_image_is_refused():
    """As of boxes that were drawn in a larger copy."""
    check_inside("boxes.csv", "a.png", (20, 10), np.array([[0, 0, 20, 10]]))
    with pytest.raises(InputError, match=r"box \[0, 0, 5, 11\] of image 'a.png', which is 20 x 10"):
        check_inside("boxes.csv", "a.png", (20, 10), np.array([[0, 0, 20, 10], [0, 0, 5, 11]]))
