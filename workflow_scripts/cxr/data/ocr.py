"""Words and letters in radiographs, by the text detector and recogniser of rapidocr."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import rapidocr
from PIL import Image

from cxr.cli import InputError
from cxr.data.letters import find_letters

MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
# Pixels of the shorter side that the detector sees an image at, the least score of a box, and the
# pixels mirrored around the resized image, so that letters that its border cuts become whole. It
# takes text of a certain size best: it finds words in the larger picture, and single letters, which
# are higher, in the smaller.
SCALES = ((352, 0.4, 0), (736, 0.4, 32))
LEAST_TEXT_SCORE = 0.5  # below it a box is kept, its text is not
# What a box that was found in one way only (the smaller picture, the larger, by its shape) needs as
# the score of its text: clips, vertebrae and wires have less. A sure letter counts as two ways.
LEGIBLE = (0.05, 0.05, 0.9)
TALLEST = 0.2  # of the shorter side; the detector boxes a whole chest now and then
ARROWS = set("\u2190\u2191\u2192\u2193\u4e2a")  # left, up, right, down, a broad one as it is read
MARGIN = 3 / 512  # of the shorter side: letters reach a little beyond the detector's boxes


class Word(NamedTuple):
    """A box in pixels of the image, end exclusive, and what is written in it, if legible."""

    x0: int
    y0: int
    x1: int
    y1: int
    text: str


def load_reader(threads, folder=Path(rapidocr.__file__).parent / "models"):
    """Detector and recogniser from rapidocr's own files; nothing is downloaded.

    Raises InputError if a model is missing.
    """
    for name in MODELS.values():
        if not (folder / name).is_file():
            raise InputError(f"{folder / name}: no such model; reinstall the package rapidocr")
    models = {f"{part}.model_path": str(folder / name) for part, name in MODELS.items()}
    return rapidocr.RapidOCR(
        params=models
        | {
            "Global.log_level": "critical",
            "Global.use_cls": False,
            "Global.text_score": 0,
            "Det.limit_side_len": 32,  # read_words decides on the size
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def read_words(image, reader):
    """Words and letters in a grey PIL image, from top to bottom: list of Word."""
    ways = [detect(image, reader, *scale) for scale in SCALES]
    letters, is_sure = find_letters(image)
    ways += [letters, letters[is_sure]]
    found = [(box, {way}) for way, boxes in enumerate(ways) for box in whole(boxes, image)]
    words = []
    for box, by in unite(found):
        text, score = recognise(image.crop(box), reader)
        text = text if score >= LEAST_TEXT_SCORE else ""
        if (len(by) > 1 or score >= LEGIBLE[min(by)]) and not (text and set(text) <= ARROWS):
            words.append(Word(*box, text))
    return sorted(words, key=lambda word: (word.y0, word.x0))


def detect(image, reader, side, least_score, padding):
    """Boxes (x0, y0, x1, y1) that the detector finds in the image resized to a shorter side.

    float (n, 4), in pixels of the image; some may reach beyond it.
    """
    scale = side / min(image.size)
    size = [round(length * scale) for length in image.size]
    resized = to_rgb(image.resize(size, Image.Resampling.BICUBIC))
    padded = np.pad(resized, ((padding, padding), (padding, padding), (0, 0)), mode="reflect")
    found = reader(padded, use_det=True, use_rec=False, box_thresh=least_score).boxes
    if found is None:
        return np.zeros((0, 4))
    return (np.hstack([found.min(axis=1), found.max(axis=1)]) - padding) / scale


def whole(boxes, image):
    """Boxes of at most TALLEST in whole pixels of the image, with their margin: list of lists."""
    shorter = min(image.size)
    start = np.floor(boxes[:, :2] - MARGIN * shorter).clip(0)
    end = np.ceil(boxes[:, 2:] + MARGIN * shorter).clip(max=image.size)
    height = (end - start).min(axis=1)
    is_line = (height > 0) & (height <= TALLEST * shorter)
    return np.hstack([start, end])[is_line].astype(int).tolist()


def unite(found):
    """Boxes with those that share more than half of the smaller one's area made one.

    found: pairs of a box and the set of ways that it was found in, which are united, too.
    """
    united = []
    for box, ways in sorted(found, key=lambda each: area(each[0]), reverse=True):
        for place, (other, others) in enumerate(united):
            shared = (*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
            if area(shared) > area(box) / 2:
                outer = (*map(min, box[:2], other[:2]), *map(max, box[2:], other[2:]))
                united[place] = (outer, ways | others)
                break
        else:
            united.append((tuple(box), ways))
    return united


def area(box):
    """Pixels of a box; 0 where it ends before it starts."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def recognise(image, reader):
    """What is written in a grey PIL image of one line, and its score, 0 to 1."""
    read = reader(to_rgb(image), use_det=False, use_rec=True)
    return read.txts[0], read.scores[0]


def to_rgb(image):
    """uint8 (h, w, 3) of a grey PIL image."""
    return np.asarray(image.convert("RGB"))
