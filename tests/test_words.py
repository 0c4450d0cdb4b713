"""Words and letters are found where they are, and nowhere else."""

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("rapidocr")
from cxr.cli import InputError
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import read_grey
from cxr.data.images import cover
from cxr.data.letters import find_letters
from cxr.data.ocr import load_reader, read_words, unite
from cxr.data.phantoms import BRIGHTEST, COVID19, draw_frontal
from find_words import find_words
from PIL import Image, ImageDraw, ImageFont, ImageOps
from plot_words import plot_words

SIZES = (256, 512, 1024)
TEXTS = (("SEDUTO", 0.05, 0.04, 0.06), ("R", 0.88, 0.1, 0.08), ("PORTABLE", 0.1, 0.9, 0.04))


@pytest.fixture(scope="module")
def reader():
    return load_reader(threads=1)


def phantom(size):
    return Image.fromarray(draw_frontal([COVID19], size, np.random.default_rng(size)))


def with_texts(size):
    """A phantom with TEXTS (text, left, top, height: shares of the size) in white."""
    image = phantom(size)
    for text, left, top, height in TEXTS:
        font = ImageFont.load_default(height * size)
        ImageDraw.Draw(image).text((left * size, top * size), text, fill=255, font=font)
    return image


@pytest.mark.parametrize("size", SIZES)
def test_drawn_words_are_read_and_covered(size, reader):
    image = with_texts(size)
    words = read_words(image, reader)
    assert [word.text for word in words] == [text for text, *_ in TEXTS]
    assert np.asarray(cover(image, [word[:4] for word in words])).max() <= BRIGHTEST
    assert all(0 <= word.x0 < word.x1 <= size and 0 <= word.y0 < word.y1 <= size for word in words)


@pytest.mark.parametrize("size", SIZES)
def test_nothing_is_found_where_nothing_is_written(size, reader):
    assert read_words(phantom(size), reader) == []


def test_boxes_are_of_the_stored_image_where_it_is_no_square(reader):
    tall = Image.new("L", (400, 1000))
    tall.paste(with_texts(400), (0, 600))
    words = read_words(tall, reader)
    assert [word.text for word in words] == [text for text, *_ in TEXTS]
    assert min(word.y0 for word in words) > 600


def test_arrows_are_no_text(reader):
    image = Image.new("L", (512, 512), 60)
    points = [(100, 60), (120, 85), (107, 85), (107, 110), (93, 110), (93, 85), (80, 85)]
    ImageDraw.Draw(image).polygon(points, fill=255)
    assert read_words(image, reader) == []


def test_threads_change_nothing(reader):
    image = with_texts(512)
    assert read_words(image, load_reader(threads=2)) == read_words(image, reader)


def test_boxes_of_one_word_become_one():
    found = [((0, 0, 10, 10), {0}), ((2, 0, 14, 10), {1}), ((11, 0, 30, 10), {0})]
    assert unite(found) == [((11, 0, 30, 10), {0}), ((0, 0, 14, 10), {0, 1})]


def test_a_missing_model_is_named(tmp_path):
    with pytest.raises(InputError, match=r"PP-OCRv6_det_small\.onnx: no such model"):
        load_reader(threads=1, folder=tmp_path)


def test_test_images_alone_are_searched_and_drawn(tmp_path):
    rows = []
    for split in ("train", "test"):
        for number, image in enumerate([with_texts(256), phantom(256)]):
            name = f"NORMAL/NORMAL ({split}{number}).png"
            (tmp_path / "NORMAL").mkdir(exist_ok=True)
            image.save(tmp_path / name)
            rows.append((name, "normal", split))
    split, found = tmp_path / "split.csv", tmp_path / "found.csv"
    pd.DataFrame(rows, columns=["image", "class", "split"]).to_csv(split, index=False)
    find_words(tmp_path, split, found, threads=1)
    boxes = pd.read_csv(found)
    assert list(boxes) == ["image", *BOX, "text", "origin"]
    assert boxes.text.tolist() == [text for text, *_ in TEXTS]
    assert set(boxes.image) == {"NORMAL/NORMAL (test0).png"} and set(boxes.origin) == {"ocr"}
    sheets = [tmp_path / "words.jpg", tmp_path / "again.jpg"]
    for sheet in sheets:
        plot_words(tmp_path, split, found, most=8, out=sheet)
    assert sheets[0].read_bytes() == sheets[1].read_bytes()
    assert Image.open(sheets[0]).convert("L").getextrema()[0] < 10


def with_marker(text="R", size=22, bold=1, angle=0, mirrored=False, ring=False, top=120):
    """A phantom with text that stands alone, and its box: (x0, y0, x1, y1)."""
    letter = Image.new("L", (64, 64))
    look = {"font": ImageFont.load_default(size), "anchor": "mm", "stroke_width": bold}
    ImageDraw.Draw(letter).text((32, 32), text, fill=255, **look)
    letter = (ImageOps.mirror(letter) if mirrored else letter).rotate(angle)
    x0, y0, x1, y1 = letter.getbbox()
    if ring:
        ImageDraw.Draw(letter).ellipse([12, 12, 52, 52], outline=255, width=2)
    image = phantom(512)
    image.paste(255, (420, top), letter)
    return image, (420 + x0, max(top + y0, 0), 420 + x1, top + y1)


@pytest.mark.parametrize(
    "look",
    [
        {"ring": True, "mirrored": True, "angle": 45},
        {"text": "L", "size": 13, "bold": 0, "mirrored": True},  # both found by their shape only
        {"text": "L", "size": 13, "bold": 0, "mirrored": True, "angle": 90},
        {"text": "PA", "top": -33},  # both found in the mirrored frame only
        {"text": "L", "top": -35},
    ],
    ids=str,
)
def test_letters_that_stand_alone_are_covered(look, reader):
    image, (x0, y0, x1, y1) = with_marker(**look)
    left = cover(Image.new("L", image.size, 255), [word[:4] for word in read_words(image, reader)])
    assert (np.asarray(left)[y0:y1, x0:x1] == 0).mean() > 0.9


def test_a_letter_is_found_by_its_shape():
    image, box = with_marker(mirrored=True, ring=True)
    boxes, _ = find_letters(image)
    assert len(boxes)
    np.testing.assert_allclose(boxes, np.tile(box, (len(boxes), 1)), atol=3)


@pytest.mark.parametrize("shape", ["ellipse", "rectangle", "arc"])
@pytest.mark.parametrize("width", [2, 6])
def test_rings_frames_and_arcs_are_no_letters(shape, width):
    image = Image.new("L", (512, 512), 60)
    angles = (0, 130) if shape == "arc" else ()
    color = {"fill" if shape == "arc" else "outline": 255}
    getattr(ImageDraw.Draw(image), shape)([400, 90, 430, 120], *angles, width=width, **color)
    assert find_letters(image)[0].tolist() == []


# Of each kind of letter and word some: figure letters, markers, a cut word, initials, small lines.
LISTED = [f"COVID-19/COVID-19 ({number}).png" for number in (5, 13, 97, 129)] + [
    f"Viral Pneumonia/Viral Pneumonia ({number}).png" for number in (39, 56)
]
NOTHING = [f"COVID-19/COVID-19 ({number}).png" for number in (84, 118)]  # a zip, electrodes


def test_nine_tenths_of_real_words_are_covered_and_nothing_is_invented(real_data, reader):
    folder = real_data / "covid19-mini"
    truth = read_image_table(folder / "text_boxes.csv", columns=[*BOX, "uncertain"])
    covered = []
    for image in LISTED:
        grey = read_grey(folder / image)
        white = Image.new("L", grey.size, 255)
        left = np.asarray(cover(white, [word[:4] for word in read_words(grey, reader)]))
        boxes = truth.loc[(truth.image == image) & (truth.uncertain == 0), BOX].to_numpy()
        covered += [(left[y0:y1, x0:x1] == 0).mean() for x0, y0, x1, y1 in boxes]
    assert len(covered) >= 11 and np.mean(np.array(covered) >= 0.9) >= 0.9
    assert [read_words(read_grey(folder / image), reader) for image in NOTHING] == [[], []]
