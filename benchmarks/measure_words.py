"""Words in test images: rapidocr's detector alone against this workflow's, in one run.

--folder holds text_boxes.csv, no_text.csv and lateral_views.csv beside the images that they list.
Per way, on the images of the first two lists, with one thread:

recall      share of the certain boxes that found boxes cover to 90 % of their area or more;
            of all images, and of frontal ones;
precision   share of the found boxes that cover half of a listed one, certain or not, or more and
            are no larger than 5 % of the image: nobody wants words covered with the whole chest;
no text     boxes on each image without text;
seconds     of CPU time per image.

Then, on words and letters drawn into images without text (drawn_words.py), --seeds times: the
share covered of each kind, and the boxes on each image before it is drawn into.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data import ocr
from cxr.data.covid19 import BOX, read_image_table
from cxr.data.decoding import read_grey
from drawn_words import drawn
from rapidocr import RapidOCR

COVERED, HALF, LARGEST = 0.9, 0.5, 0.05


def main(folder, seeds):
    measure_listed(folder)
    measure_drawn(folder, seeds)


def measure_drawn(folder, seeds):
    images = [each for seed in range(seeds) for each in drawn(folder, seed)]
    for way, find in list(ways().items())[2:]:
        covered = defaultdict(list)
        for _, image, text in images:
            boxes = find(image)
            for kind, box in text:
                covered[kind].append(covered_share(box, boxes) >= COVERED)
        spurious = [len(find(image)) for image, _, _ in images[: len(images) // seeds]]
        every = [each for values in covered.values() for each in values]
        print(f"{way}: {share(every)}, no text {share(spurious)}")
        print("; ".join(f"{kind} {share(values)}" for kind, values in covered.items()))


def measure_listed(folder):
    truth = read_image_table(folder / "text_boxes.csv", columns=[*BOX, "uncertain"])
    no_text = read_image_table(folder / "no_text.csv").image
    laterals = set(read_image_table(folder / "lateral_views.csv").image)
    images = {name: read_grey(folder / name) for name in [*sorted(truth.image.unique()), *no_text]}
    for way, find in ways().items():
        find(next(iter(images.values())))  # models load at their first use
        start = time.process_time()
        found = {name: np.array(find(image)).reshape(-1, 4) for name, image in images.items()}
        seconds = (time.process_time() - start) / len(images)
        recall, frontal, right = [], [], []
        for name, listed in truth.groupby("image"):
            certain = listed.loc[listed.uncertain == 0, BOX].to_numpy()
            covered = [covered_share(box, found[name]) >= COVERED for box in certain]
            recall += covered
            frontal += [] if name in laterals else covered
        for name, boxes in found.items():
            listed = truth.loc[truth.image == name, BOX].to_numpy()
            largest = LARGEST * images[name].width * images[name].height
            right += [
                ocr.area(box) <= largest
                and any(covered_share(one, [box]) >= HALF for one in listed)
                for box in boxes
            ]
        spurious = [len(found[name]) for name in no_text]
        print(
            f"{way}: recall {share(recall)}, frontal {share(frontal)}, precision {share(right)}, "
            f"no text {spurious}, {seconds:.2f} s an image"
        )


def ways():
    """Functions from a grey PIL image to boxes (x0, y0, x1, y1), by what they do."""
    one_thread = {
        "Global.log_level": "critical",
        "EngineConfig.onnxruntime.intra_op_num_threads": 1,
        "EngineConfig.onnxruntime.inter_op_num_threads": 1,
    }
    plain = RapidOCR(params=one_thread)
    stored = RapidOCR(params=one_thread | {"Det.limit_side_len": 32})
    reader = ocr.load_reader(threads=1)
    return {
        "rapidocr, detection at its default size": lambda image: detect(image, plain),
        "rapidocr, detection at the stored size": lambda image: detect(image, stored),
        "two scales, as before 2026-11-28": lambda image: two_scales(image, reader),
        "and letters, two ways or legible": lambda image: [
            word[:4] for word in ocr.read_words(image, reader)
        ],
    }


def detect(image, reader, margin=3):
    """Boxes of rapidocr's detector with a margin in pixels."""
    found = reader(ocr.to_rgb(image), use_det=True, use_cls=False, use_rec=False).boxes
    if found is None:
        return []
    start = found.min(axis=1) - margin
    end = found.max(axis=1) + margin
    return np.hstack([start.clip(0), end.clip(max=image.size)]).astype(int)


def two_scales(image, reader):
    """Boxes of two scales with a score of 0.4, unpadded, as this workflow covered them once."""
    found = np.vstack([ocr.detect(image, reader, side, 0.4, 0) for side in (352, 736)])
    boxes = [box for box, _ in ocr.unite([(box, set()) for box in ocr.whole(found, image)])]
    return [box for box in boxes if reads_no_arrow(ocr.recognise(image.crop(box), reader))]


def reads_no_arrow(read):
    text, score = read
    return score < ocr.LEAST_TEXT_SCORE or bool(set(text) - set("\u2190\u2191\u2192\u2193"))


def covered_share(box, boxes):
    """Share of a box that boxes cover together."""
    x0, y0, x1, y1 = box
    picture = Image.new("L", (x1 - x0, y1 - y0))
    for left, top, right, bottom in boxes:
        picture.paste(1, (left - x0, top - y0, right - x0, bottom - y0))
    return np.asarray(picture).mean()


def share(values):
    return f"{sum(values)}/{len(values)} = {np.mean(values):.3f}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=1, help="of drawn text; default: 1")
    main(**vars(parser.parse_args()))
