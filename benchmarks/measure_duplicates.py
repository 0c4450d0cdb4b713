"""Edited copies of X-rays: perceptual hashes against find_copies, in one run.

Takes the images below --folder, plants copies of --planted of them, edited in each of some ways,
and looks for them. Per way, with one thread and the settings of config.yaml:

recall          planted copies whose original is found among all images, of each kind of edit;
                of hashes: those whose own original is near enough in hash and grey levels;
false           pairs of images, and of planted copies and images, of different patients, and of
                one patient, that are called the same picture (patients by the files' names);
described right found copies of which change says what was planted;
CPU seconds     per image, and for 2,905 images among themselves and against 112,120: descriptors
                are multiplied at full size (the folder's, repeated), the rest is scaled up.

--out is a table of all pairs that were compared closely, from which thresholds can be chosen.
"""

import argparse
import io
import sys
import time
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import yaml
from PIL import Image, ImageDraw, ImageFont, ImageOps

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "workflow_scripts"))
from cxr.data import duplicates
from cxr.data.decoding import image_files, read_grey
from cxr.data.duplicates import find_copies
from cxr.data.images import to_square
from match_originals import patient_of

HASH, GREY = 8, 0.97  # bits that differ at most, correlation at least: the way before
MANY, DATABASE = 112_120, 2_905  # images of ChestX-ray14, and of the COVID-19 database


def main(folder, planted, candidates, out):
    settings = yaml.safe_load((ROOT / "config.yaml").read_text())["covid19"]["duplicates"]
    candidates = candidates or settings["candidates"]
    paths = image_files(folder)
    images = [read_grey(folder / path) for path in paths]
    patients = np.array([patient_of(path.stem) or str(path) for path in paths])
    chosen = np.random.default_rng(0).permutation(len(images))[:planted]
    copies = [
        (kind, place, edit(images[place])) for kind, edit in EDITS.items() for place in chosen
    ]
    print(f"{len(images)} images of {len(set(patients))} patients, {len(copies)} planted copies")
    hashes_found(images, patients, copies)
    pixels = [duplicates.resized(np.asarray(image), 224) for image in images]  # as in image sets
    start = time.process_time()
    among = find_copies(pixels, candidates=candidates, least=-1)
    seconds = time.process_time() - start
    among = pd.DataFrame(among).assign(kind="", original=-1)
    squares = [duplicates.resized(np.asarray(image), 224) for *_, image in copies]
    found = pd.DataFrame(find_copies(squares, pixels, candidates=candidates, least=-1))
    found["kind"] = [copies[place][0] for place in found["first"]]
    found["original"] = found["first"] = [copies[place][1] for place in found["first"]]
    pairs = pd.concat([among, found])
    if out:
        names = np.array([str(path) for path in paths])
        pairs.assign(first=names[pairs["first"]], second=names[pairs.second]).to_csv(
            out, index=False
        )
    planted = np.array([place for _, place, _ in copies])
    report(pairs, patients, planted, settings["correlation"])
    cost(pixels, seconds, candidates, settings["candidates"])


def report(pairs, patients, planted, least):
    called = pairs[pairs.correlation >= least]
    own = called[called.original == called.second]
    for kind, words in WORDS.items():
        right = own[own.kind == kind]
        said = right.change.map(lambda change, words=words: described(change, words)).sum()
        lowest = pairs[(pairs.kind == kind) & (pairs.original == pairs.second)].correlation.min()
        n = len(planted) // len(EDITS)
        print(f"{kind}: {len(right)} of {n}, described right {said}, lowest {lowest:.3f}")
    alike = (patients[:, None] == patients).sum(axis=1) - 1  # others of each image's patient
    n = len(patients)
    for name, part, n_same, n_all in (
        ("images", pairs[pairs.kind == ""], alike.sum() // 2, n * (n - 1) // 2),
        ("copies", pairs[pairs.kind != ""], alike[planted].sum(), len(planted) * (n - 1)),
    ):
        others = part[part.original != part.second]
        one = patients[others["first"]] == patients[others.second]
        for who, some, n_pairs in (("different patients", others[~one], n_all - n_same),
                             ("one patient", others[one], n_same)):  # fmt: skip
            n_called = int((some.correlation >= least).sum())
            print(f"{name}, {who}: {n_called} called the same of {n_pairs} pairs; "
                  f"highest {np.sort(some.correlation)[-5:].round(3)}")  # fmt: skip


def described(change, words):
    return all(word in change for word in words) and (change == "same") == (words == ["same"])


def hashes_found(images, patients, copies):
    start = time.process_time()
    hashes = np.array([int(str(imagehash.phash(image)), 16) for image in images], np.uint64)
    false = {True: 0, False: 0}
    for first, one in enumerate(hashes):
        near = np.flatnonzero(np.bitwise_count(hashes[first + 1 :] ^ one) <= HASH) + first + 1
        for second in near:
            if correlate(images[first], images[second]) >= GREY:
                false[bool(patients[first] == patients[second])] += 1
    print(f"hashes: {false[False]} pairs of different patients, {false[True]} of one; "
          f"{(time.process_time() - start) / len(images):.4f} CPU seconds an image")  # fmt: skip
    for kind in EDITS:
        n = 0
        for name, place, image in copies:
            if name == kind:
                one = np.uint64(int(str(imagehash.phash(image)), 16))
                near = np.bitwise_count(one ^ hashes[place]) <= HASH
                n += bool(near and correlate(image, images[place]) >= GREY)
        print(f"hashes, {kind}: {n}")


def cost(pixels, seconds, candidates, configured):
    """Print CPU seconds of two tasks from those of this one, seconds for all pixels.

    Twice what comparing took here for a picture that is looked for among others: among themselves
    pairs that are each other's candidates are compared once.
    """
    few, start = pixels[: 2 * duplicates.BLOCK], time.process_time()
    described = duplicates.describe_all(pixels[:200])
    one = (time.process_time() - start) / len(described)
    many = described[np.arange(MANY) % len(described)]

    def nearest(n):
        start = time.process_time()
        list(duplicates.near_pairs(few, many[:n], candidates, False))
        return (time.process_time() - start) / len(few)

    compared = (seconds / len(pixels) - one - nearest(len(pixels))) * configured / candidates
    among = DATABASE * (one + nearest(DATABASE) + compared)
    against = MANY * one + DATABASE * (nearest(MANY) + 2 * compared)
    print(f"{DATABASE} among themselves: {among:.0f} CPU seconds; against {MANY}: {against:.0f}")
    print(f"an image: {one:.4f} to describe, {nearest(MANY):.3f} to look for in {MANY}, "
          f"{compared:.3f} to compare with {configured}")  # fmt: skip


def correlate(first, second):
    """Pearson correlation of two grey PIL images at 64 x 64 pixels."""
    squares = (to_square(image, 64).astype(float) for image in (first, second))
    one, other = (square - square.mean() for square in squares)
    return float((one * other).sum() / np.sqrt((one**2).sum() * (other**2).sum()))


# Edits


def as_jpeg(image):
    content = io.BytesIO()
    image.save(content, "JPEG", quality=30)
    return Image.open(io.BytesIO(content.getvalue())).convert("L")


def halved(image):
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)


def stretched(image):
    return image.point(lambda value: min(255, max(0, round(128 + 1.4 * (value - 128)))))


def brightened(image):
    return image.point(lambda value: round(255 * (value / 255) ** 0.6))


def cropped(left, top, right, bottom):
    """A function that takes shares of width and height off an image."""

    def crop(image):
        w, h = image.size
        return image.crop(
            (round(left * w), round(top * h), round((1 - right) * w), round((1 - bottom) * h))
        )

    return crop


def rotated(degrees):
    return lambda image: image.rotate(degrees, Image.Resampling.BICUBIC)


def worded(image):
    drawn, font = image.copy(), ImageFont.load_default(size=0.07 * image.height)
    place = 0.04 * image.width, 0.03 * image.height
    ImageDraw.Draw(drawn).text(place, "PORTABLE", fill=255, font=font)
    return drawn


def framed(image):
    return ImageOps.expand(image, (image.width // 10, image.height // 10), 0)


def after(*edits):
    def edit(image):
        for one in edits:
            image = one(image)
        return image

    return edit


EDITS = {
    "JPEG, quality 30": as_jpeg,
    "half size": halved,
    "contrast x 1.4": stretched,
    "gamma 0.6": brightened,
    "histogram equalised": ImageOps.equalize,
    "cropped by 2 %": cropped(0.02, 0.02, 0.02, 0.02),
    "cropped by 5 %": cropped(0.05, 0.05, 0.05, 0.05),
    "cropped by 10 %": cropped(0.1, 0.1, 0.1, 0.1),
    "rotated 2 degrees": rotated(2),
    "rotated 5 degrees": rotated(5),
    "a word in the corner": worded,
    "a black border of 10 %": framed,
    "mirrored": ImageOps.mirror,
    "inverted": ImageOps.invert,
    "cropped by 10 % and contrast": after(cropped(0.1, 0.1, 0.1, 0.1), stretched),
    "cropped by 2 to 10 %, unevenly": cropped(0.02, 0.1, 0.06, 0),
    "mirrored, inverted, cropped by 10 %": after(
        ImageOps.mirror, ImageOps.invert, cropped(0.1, 0.1, 0.1, 0.1)
    ),
    "border, word, gamma": after(framed, worded, brightened),
}
# What change has to say of each.
WORDS = {
    "JPEG, quality 30": ["same"],
    "half size": ["same"],
    "contrast x 1.4": ["contrast"],
    "gamma 0.6": ["contrast"],
    "histogram equalised": ["contrast"],
    "cropped by 2 %": ["image cropped to 9"],
    "cropped by 5 %": ["image cropped to 8"],
    "cropped by 10 %": ["image cropped to 6"],
    "rotated 2 degrees": ["rotated"],
    "rotated 5 degrees": ["rotated"],
    "a word in the corner": ["annotated"],
    "a black border of 10 %": ["image framed"],
    "mirrored": ["mirrored"],
    "inverted": ["inverted"],
    "cropped by 10 % and contrast": ["image cropped to 6", "contrast"],
    "cropped by 2 to 10 %, unevenly": ["image cropped to 8"],
    "mirrored, inverted, cropped by 10 %": ["mirrored", "inverted", "image cropped to 6"],
    "border, word, gamma": ["image framed", "contrast"],
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--planted", type=int, default=100, help="images; default: 100")
    parser.add_argument("--candidates", type=int, help="fewer, to be done sooner")
    parser.add_argument("--out", type=Path, help="CSV to write")
    main(**vars(parser.parse_args()))
