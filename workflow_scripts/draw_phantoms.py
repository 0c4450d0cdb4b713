"""Draw radiograph-like phantoms in the layouts of the two real data sets.

For the demo and the tests, which need images that anyone may use and any machine can make.
Classes differ by what lies in the lungs; ChestX-ray14's No Finding and Pneumonia look like the
COVID-19 database's NORMAL and Viral Pneumonia. Where the marks of disease show is written too: as
NIH's list of boxes, and as masks of the COVID-19 database's images, beside masks of their lungs.
A second hospital has the same diseases on other machines, for an external test. Equal arguments
give equal bytes.
"""

import gzip
import io
import re
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from cxr.cli import InputError, parser, progress, user_errors
from cxr.data.chestxray14 import (
    BOX_NAMES,
    BOXED_SIZE,
    FINDINGS,
    NO_FINDING,
    RADIOLOGISTS,
    read_labels,
)
from cxr.data.phantoms import (
    COVID19,
    MARKS,
    draw_frontal,
    draw_lateral,
    draw_marked,
    draw_parts,
    elsewhere,
)
from cxr.files import atomic_write, write_file, write_table
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

HEADER = (  # of Data_Entry_2017_v2020.csv: commas inside brackets make 9 names of 11 columns
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"  # of BBox_List_2017.csv
DETECTORS = ("2500,2048,0.168,0.168", "3056,2544,0.139,0.139", "2048,2500,0.171,0.171")
WORDS = ("SEDUTO", "PORTABLE", "AP SUPINE")
METADATA = {  # Kaggle's names, the misspelt one too
    "COVID-19": "COVID-19.metadata.xlsx",
    "NORMAL": "NORMAL.metadata.xlsx",
    "Viral Pneumonia": "Viral Pneumonia.matadata.xlsx",
}
TINT = (1.03, 1.0, 0.93)  # of red, green, blue; keeps luma
LATERAL_COLUMNS = ["image", "reason"]
COLLECTION_COLUMNS = ["patientid", "view", "modality", "url"]
DIAGNOSES = {  # in the second hospital's words: the marks
    "unremarkable": [],
    "viral pneumonia": [MARKS["Pneumonia"]],
    "SARS-CoV-2 pneumonia": [COVID19],
}
SITE = "https://phantoms.example"
BOX_COLUMNS = ["image", "x0", "y0", "x1", "y1", "text"]


def draw_chestxray14(folder, archives, patients, stored_size, seed):
    """Label table, list of boxes and archives like NIH's: 1 to 4 images of each of the patients.

    Every mark of a finding that NIH's list has gets a box; NIH drew them on 880 of 112,120 images.
    """
    rng = np.random.default_rng([seed, 14])
    rows, boxes, members, continued = [], [], [], []
    # Dealt like cards, each finding but Pneumonia comes equally often.
    others = [finding for finding in FINDINGS if finding != "Pneumonia"]
    deck = rng.permuted(np.tile(others, (patients, 1)), axis=1).ravel().tolist()
    numbers = np.cumsum(rng.integers(1, 40, patients)).tolist()
    for patient in progress(numbers, "ChestX-ray14"):
        age, sex = int(rng.integers(18, 85)), rng.choice(["F", "M"])
        for follow_up in range(rng.integers(1, 5)):
            findings = draw_findings(deck, rng)
            name = f"{patient:08}_{follow_up:03}.png"
            marks = [MARKS[finding] for finding in findings]
            image, shown = draw_marked(marks, stored_size, rng)
            boxes += box_rows(name, findings, shown)
            mode = "RGBA" if rng.random() < 0.1 else "L"
            if follow_up:
                continued.append(len(members))
            members.append((f"images/{name}", png(Image.fromarray(image).convert(mode))))
            labels = "|".join(findings) or NO_FINDING
            rows.append(
                f"{name},{labels},{follow_up},{patient},{age + follow_up},{sex},"
                f"{rng.choice(['PA', 'AP'])},{rng.choice(DETECTORS)}"
            )
    if len(continued) < archives:
        raise InputError(f"{patients} patients are too few for {archives} archives")
    write_file(folder / "Data_Entry_2017_v2020.csv", "\n".join([HEADER, *rows, ""]))
    write_file(folder / "BBox_List_2017.csv", "\n".join([BOX_HEADER, *boxes, ""]))
    # NIH's archives end where they are full: in the middle of a patient.
    ends = [continued[len(continued) * number // archives] for number in range(1, archives)]
    for number, (start, end) in enumerate(zip([0, *ends], [*ends, None], strict=True), 1):
        write_archive(folder / f"images_{number:03}.tar.gz", members[start:end])


def box_rows(image, findings, shown):
    """Rows of NIH's list: a box around each patch, in pixels of an image of BOXED_SIZE.

    shown: where each of the findings shows, bool (len(findings), size, size).
    """
    scale, rows = BOXED_SIZE / shown.shape[1], []
    for finding, mask in zip(findings, shown, strict=True):
        if name := next((name for name in BOX_NAMES if BOX_NAMES[name] == finding), None):
            for y, x in ndimage.find_objects(ndimage.label(mask)[0]):
                sides = (x.start, y.start, x.stop - x.start, y.stop - y.start)
                rows.append(f"{image},{name},{','.join(str(scale * side) for side in sides)}")
    return rows


def draw_radiologists(path, labels, seed):
    """Radiologists' labels, laid out as Google's, of about two thirds of a label table's images.

    They see what the table says, but for one answer in ten.
    """
    rng = np.random.default_rng([seed, 3])
    header, *rows = labels.read_text().splitlines()
    table = read_labels(labels)
    answers = np.column_stack(
        [table[[*names]].any(axis=1) if names else rng.random(len(table)) < 0.05
         for names in RADIOLOGISTS.values()]
    )  # fmt: skip
    answers ^= rng.random(answers.shape) < 0.1
    words = np.where(answers, "YES", "NO")
    lines = [
        ",".join([row, *words[number], rng.choice(["val", "test"])])
        for number, row in enumerate(rows)
        if rng.random() < 2 / 3
    ]
    write_file(path, "\n".join([",".join([header, *RADIOLOGISTS, "Set Id"]), *lines, ""]))


def draw_findings(deck, rng):
    """Findings of one image, sorted: none of 35 %, Pneumonia of 23 %, others from the deck."""
    if rng.random() < 0.35:
        return []
    findings = ["Pneumonia"] if rng.random() < 0.35 else [deck.pop()]
    if rng.random() < 0.3:
        findings.append(deck.pop())
    return sorted(set(findings))


def draw_covid19(
    folder, lists, normal, viral_pneumonia, covid19_images, laterals, stored_size, seed
):
    """Class folders, metadata and README like Kaggle's version 1, and two lists as if by hand.

    Beside the lists, by the names of the images, in masks/, white where an image's opacities show,
    and in lung_masks/ its lungs.
    And a table like the COVID-19 image data collection's, of patients, views and pages.
    """
    rng = np.random.default_rng([seed, 19])
    n_covid19 = covid19_images + laterals
    lateral_views, boxes = [], []
    for name, marks, n_images, n_lateral, n_worded in (
        ("COVID-19", [COVID19], n_covid19, laterals, n_covid19 // 2),
        ("NORMAL", [], normal, 0, 0),
        ("Viral Pneumonia", [MARKS["Pneumonia"]], viral_pneumonia, 0, 0),
    ):
        covid = name == "COVID-19"
        lateral, frontal = np.split(rng.permutation(n_images), [n_lateral])
        worded = rng.permutation(n_images)[:n_worded]
        words = {image: WORDS[place % len(WORDS)] for place, image in enumerate(worded)}
        for number in progress(range(n_images), name):
            blank = "" if covid and number % 7 == 3 else " "  # Kaggle's names vary as well
            path = f"{name}/{name}{blank}({number + 1}).png"
            if number in lateral:
                lateral_views.append((path, "side view"))
                image = Image.fromarray(draw_lateral(stored_size, rng))
            else:
                image, shown, lungs = draw_parts(marks, stored_size, rng)
                image = Image.fromarray(image)
                write_file(lists / "lung_masks" / path, png(Image.fromarray(lungs)))
                if marks:
                    mask = Image.fromarray(255 * shown.any(axis=0).astype(np.uint8))
                    write_file(lists / "masks" / path, png(mask))
            boxes += [(path, *box, text) for text, box in burn_in(image, words.get(number), rng)]
            write_file(folder / path, png(colour(image, covid and number % 4 == 1, rng)))
        write_metadata(folder, lists, name, lateral, frontal, stored_size)
    write_table(lists / "lateral_views.csv", pd.DataFrame(lateral_views, columns=LATERAL_COLUMNS))
    write_table(lists / "text_boxes.csv", pd.DataFrame(boxes, columns=BOX_COLUMNS))
    write_file(folder / "README.md.txt", f"{__doc__}\nNot radiographs. No patient was imaged.\n")


def draw_second_hospital(folder, per_class, stored_size, seed):
    """Images of each class as of another hospital, and findings.csv: file, person, diagnosis.

    Every fourth person has two images. Each image has the letter of a side, and half of them the
    hospital's tag: no word tells a class. Two images more have no definite diagnosis.
    """
    rng = np.random.default_rng([seed, 2])
    words = [word for word in DIAGNOSES for _ in range(per_class)] + ["inconclusive"] * 2
    rows = []
    for place in progress(rng.permutation(len(words)), "second hospital"):
        word, name = words[place], f"{rng.integers(10**7):07}-{place:03}.png"
        grey = elsewhere(draw_frontal(DIAGNOSES.get(word, []), stored_size, rng), rng)
        image = Image.fromarray(grey)
        texts = [(rng.choice(["L", "R"]), (0.06, rng.uniform(0.03, 0.9)), 0.05)]
        texts += [("ST. ELSEWHERE 2", (0.5, 0.95), 0.03)] if rng.random() < 0.5 else []
        for text, (left, top), height in texts:
            font = ImageFont.load_default(height * image.height)
            place_of = (left * image.width, top * image.height)
            ImageDraw.Draw(image).text(place_of, text, fill=255, font=font)
        write_file(folder / "images" / name, png(image))
        again = place % 5 == 4 and word == words[place - 1]
        rows.append((name, f"P{place - again:03}", word))
    columns = ["file", "person", "diagnosis"]
    write_table(folder / "findings.csv", pd.DataFrame(rows, columns=columns))


def write_metadata(folder, lists, name, lateral, frontal, stored_size):
    """Kaggle's table of a class folder; of COVID-19, also the collection's.

    lateral, frontal: numbers of the folder's images, in any order.
    """
    covid, n_images = name == "COVID-19", len(lateral) + len(frontal)
    called = f"{name}({{}})" if covid else f"{name}-{{}}"  # other names than the files'
    metadata = pd.DataFrame({"FILE NAME": [called.format(n + 1) for n in range(n_images)]})
    metadata["FORMAT"], metadata["SIZE"] = "PNG", f"{stored_size}*{stored_size}"
    metadata["URL"] = f"{SITE}/{name.replace(' ', '-')}"
    if covid:  # a page for each patient; those with a side view have a frontal one, too
        patients = np.arange(n_images)
        patients[lateral] = frontal[: len(lateral)]
        metadata["URL"] = [f"{SITE}/case-{patient}" for patient in patients]
        views = np.where(np.isin(np.arange(n_images), lateral), "L", "PA")
        rows = zip(patients, views, ["X-ray"] * n_images, metadata["URL"], strict=True)
        write_table(lists / "collection.csv", pd.DataFrame(rows, columns=COLLECTION_COLUMNS))
    write_file(folder / METADATA[name], workbook(metadata))


def workbook(table):
    """A table as the bytes of an Excel workbook, without the time that openpyxl writes into it."""
    dated, undated = io.BytesIO(), io.BytesIO()
    table.to_excel(dated, index=False)
    with zipfile.ZipFile(dated) as old, zipfile.ZipFile(undated, "w") as new:
        for name in old.namelist():
            part = re.sub(
                rb"\d{4}(-\d\d){2}T\d\d(:\d\d){2}Z", b"2020-06-01T00:00:00Z", old.read(name)
            )
            new.writestr(zipfile.ZipInfo(name), part)
    return undated.getvalue()


def burn_in(image, word, rng):
    """Write the word, if any, to the upper left, and a letter, of some images, to the right.

    Changes image (mode L); returns (text, box) of what was written, boxes end exclusive.
    """
    size = image.width
    texts = [(word, (0.04, 0.04), 0.06)] if word else []
    if rng.random() < 0.4:
        texts.append((rng.choice(["L", "R"]), (0.9, rng.choice([0.05, 0.85])), 0.09))
    written = []
    for text, (left, top), height in texts:
        mask = Image.new("L", image.size)
        font = ImageFont.load_default(height * size)
        ImageDraw.Draw(mask).text((left * size, top * size), text, fill=255, font=font)
        image.paste(255, mask=mask)
        written.append((text, mask.getbbox()))
    return written


def colour(image, tinted, rng):
    """The image as stored: RGB if tinted, else grey of mode L or, for a fifth, RGB."""
    as_rgb = rng.random() < 0.2
    if tinted:
        channels = [image.point(lambda value, gain=gain: value * gain) for gain in TINT]
        return Image.merge("RGB", channels)
    return image.convert("RGB") if as_rgb else image


def png(image):
    """Bytes of the image as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def write_archive(path, members):
    """A tar.gz of (name, bytes) without a trace of when and by whom it was written."""
    folder = tarfile.TarInfo("images")
    folder.type, folder.mode = tarfile.DIRTYPE, 0o755
    with (
        atomic_write(path) as temporary,
        open(temporary, "wb") as file,
        gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as unpacked,
        tarfile.open(fileobj=unpacked, mode="w") as archive,
    ):
        archive.addfile(folder)
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--chestxray14", type=Path, required=True, help="folder to write")
    arguments.add_argument("--covid19", type=Path, required=True, help="folder to write")
    arguments.add_argument(
        "--lists", type=Path, help="folder of lists, collection and masks; default: --covid19"
    )
    arguments.add_argument(
        "--second-hospital", type=Path, help="folder to write: the same diseases on other machines"
    )
    for name, value, what in (
        ("archives", 3, "of ChestX-ray14"),
        ("patients", 120, "of ChestX-ray14, with 1 to 4 images each"),
        ("normal", 54, "images"),
        ("viral-pneumonia", 54, "images"),
        ("covid19-images", 24, "frontal images"),
        ("laterals", 3, "lateral COVID-19 images, in addition"),
        ("stored-size", 256, "pixels, width and height"),
        ("second-hospital-images", 0, "of each class, in --second-hospital"),
        ("seed", 0, "equal seeds give equal bytes"),
    ):
        what = f"{what} (default: {value})"
        arguments.add_argument(f"--{name}", type=int, default=value, metavar="N", help=what)
    arguments.add_argument(
        "--outputs", type=Path, nargs="+", default=[], help="what must then be there"
    )
    given = vars(arguments.parse_args())
    outputs = given.pop("outputs")
    shared = {name: given.pop(name) for name in ("stored_size", "seed")}
    chestxray14 = {name: given.pop(name) for name in ("archives", "patients")}
    folders = given.pop("chestxray14"), given.pop("covid19")
    lists = given.pop("lists") or folders[1]
    second, per_class = given.pop("second_hospital"), given.pop("second_hospital_images")
    with user_errors():
        draw_chestxray14(folders[0], **chestxray14, **shared)
        table = folders[0] / "Data_Entry_2017_v2020.csv"
        draw_radiologists(lists / "radiologists.csv", table, shared["seed"])
        draw_covid19(folders[1], lists, **given, **shared)
        if second and per_class:
            draw_second_hospital(second, per_class, **shared)
        if missing := [path for path in outputs if not path.exists()]:
            raise InputError(f"{missing[0]}: no such phantom; drawn: {folders[0]}, {folders[1]}")
