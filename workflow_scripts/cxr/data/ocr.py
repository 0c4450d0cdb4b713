"""Words and letters in radiographs, by the text detector and recogniser of rapidocr."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import rapidocr
from PIL import Image

from cxr.cli import InputError

MODELS = {"Det": "PP-OCRv6_det_small.onnx", "Rec": "PP-OCRv6_rec_small.onnx"}
# Pixels of the shorter side that the detector sees an image at. It takes text of a certain size
# best: it finds words in the larger picture, and single letters, which are higher, in the smaller.
SCALES = (352, 736)
LEAST_SCORE = 0.4  # of a box; at rapidocr's 0.5 single letters are lost, at 0.3 ribs become words
LEAST_TEXT_SCORE = 0.5  # below it a box is kept, its text is not
TALLEST = 0.2  # of the shorter side; the detector boxes a whole chest now and then
ARROWS = set("\u2190\u2191\u2192\u2193")  # left, up, right, down: no text
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
            "Det.box_thresh": LEAST_SCORE,
            "EngineConfig.onnxruntime.intra_op_num_threads": threads,
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
    )


def read_words(image, reader):
    """Words and letters in a grey PIL image, from top to bottom: list of Word."""
    boxes = unite([box for side in SCALES for box in detect(image, reader, side)])
    words = [Word(*box, recognise(image.crop(box), reader)) for box in boxes]
    text = [word for word in words if not word.text or set(word.text) - ARROWS]
    return sorted(text, key=lambda word: (word.y0, word.x0))


def detect(image, reader, side):
    """Boxes (x0, y0, x1, y1) that the detector finds in the image resized to a shorter side."""
    shorter = min(image.size)
    size = [round(length * side / shorter) for length in image.size]
    resized = to_rgb(image.resize(size, Image.Resampling.BICUBIC))
    found = reader(resized, use_det=True, use_rec=False).boxes  # it remembers such options
    if found is None:
        return []
    corners = found * shorter / side
    start = np.floor(corners.min(axis=1) - MARGIN * shorter).clip(0)
    end = np.ceil(corners.max(axis=1) + MARGIN * shorter).clip(max=image.size)
    is_line = (end - start).min(axis=1) <= TALLEST * shorter
    return np.hstack([start, end])[is_line].astype(int).tolist()


def unite(boxes):
    """Boxes with those that share more than half of the smaller one's area made one."""
    united = []
    for box in sorted(boxes, key=area, reverse=True):
        for place, other in enumerate(united):
            shared = (*map(max, box[:2], other[:2]), *map(min, box[2:], other[2:]))
            if area(shared) > area(box) / 2:
                united[place] = (*map(min, box[:2], other[:2]), *map(max, box[2:], other[2:]))
                break
        else:
            united.append(tuple(box))
    return united


def area(box):
    """Pixels of a box; 0 where it ends before it starts."""
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def recognise(image, reader):
    """What is written in a grey PIL image of one line; empty where it is not legible."""
    read = reader(to_rgb(image), use_det=False, use_rec=True)
    return read.txts[0] if read.scores[0] >= LEAST_TEXT_SCORE else ""


def to_rgb(image):
    """uint8 (h, w, 3) of a grey PIL image."""
    return np.asarray(image.convert("RGB"))
