"""Single letters in radiographs by their shape, as in markers of the side.

A text detector overlooks letters that stand alone, ringed, turned or mirrored. Here, connected
parts brighter or darker than what is around them are compared with letters and with shapes that
are none (discs, rings, bars, arcs, crossings) by normalised cross-correlation, in all directions
and mirrored. What resembles a letter, and no other shape more, is one.
"""

from functools import cache
from itertools import product

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIDE = 736  # pixels of the shorter side of an image when it is searched; other lengths are of it
SHORTEST, LONGEST, THINNEST = 13, 69, 6  # longer side of a letter, from and to; least shorter side
WIDEST_STROKE = 16
LEVELS = (25, 50, 100)  # grey levels by which a letter differs from its background
LEAST_CORRELATION = {True: 0.84, False: 0.87}  # of bright, of dark letters: gaps of clips are dark
LEAD = 0.03  # by which the correlation with a letter exceeds that with any other shape
HALO, MARKER_HALO = 0.3, 0.5  # by how much its surroundings may differ, as a share of that
LETTERS = "ABCDEFGHJKLMNPRSabcde"  # others look like tubes, ribs, buttons, wires that cross
MARKERS, MARKER_CORRELATION = "LRSD", 0.9  # left, right, sinistra, destra
BOLD = (0, 3, 6)  # pixels that strokes of Pillow's own font are wider by on each side
TURNS = range(0, 360, 15)
CANVAS, TEMPLATE, INK = 160, 24, 20  # pixels: drawn at, compared at, longer side therein


def find_letters(grey):
    """Letters in a grey PIL image: boxes (x0, y0, x1, y1) in its pixels, float (n, 4), and whether
    each is sure to be one, bool (n,)."""
    scale = SIDE / min(grey.size)
    size = [round(length * scale) for length in grey.size]
    pixels = np.asarray(grey.resize(size, Image.Resampling.BICUBIC))
    found = [*_parts(pixels, bright=True), *_parts(pixels, bright=False)]
    if not found:
        return np.zeros((0, 4)), np.zeros(0, bool)
    boxes, shapes, halos, least = map(np.array, zip(*found, strict=True))
    letters, markers, others = ((shapes @ group.T).max(axis=1) for group in _templates())
    is_letter = (letters >= least) & (letters >= others + LEAD)
    is_marker = (markers >= MARKER_CORRELATION) & (markers == letters)
    is_sharp = halos <= HALO
    kept = is_letter & (is_sharp | is_marker)
    return boxes[kept] / scale, (is_marker & is_sharp)[kept]


def _parts(pixels, bright):
    """Box, shape, halo and least correlation of each part that may be a letter."""
    kernel = np.ones((WIDEST_STROKE + 1, WIDEST_STROKE + 1), np.uint8)
    transform = cv2.MORPH_TOPHAT if bright else cv2.MORPH_BLACKHAT
    contrast = cv2.morphologyEx(cv2.GaussianBlur(pixels, (3, 3), 0), transform, kernel)
    for level in LEVELS:
        above = (contrast > level).astype(np.uint8)
        _, labels, parts, _ = cv2.connectedComponentsWithStats(above, connectivity=8)
        x, y, width, height, area = parts.T
        longer, shorter = np.maximum(width, height), np.minimum(width, height)
        fits = (longer >= SHORTEST) & (longer <= LONGEST) & (shorter >= THINNEST)
        for part in np.flatnonzero(fits & (area > 0.12 * width * height)):
            x0, y0, x1, y1 = x[part], y[part], x[part] + width[part], y[part] + height[part]
            around = np.s_[max(y0 - 3, 0) : y1 + 3, max(x0 - 3, 0) : x1 + 3]
            inside = labels[around] == part
            halo = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5), np.uint8)) > inside
            values = contrast[around]
            ratio = np.median(values[halo]) / np.median(values[inside])
            if ratio <= MARKER_HALO:
                shape = _normalise(labels[y0:y1, x0:x1] == part)
                yield (x0, y0, x1, y1), shape, ratio, LEAST_CORRELATION[bright]


@cache
def _templates():
    """Letters, markers among them, other shapes: float32 (n, TEMPLATE**2), mean 0, norm 1."""
    letters, markers = map(_turned, (_letters(LETTERS), [*_letters(MARKERS), *_lead_ls()]))
    return np.vstack([letters, markers]), markers, _turned(_other_shapes())


def _turned(drawings):
    drawings = [side for drawing in drawings for side in (drawing, np.fliplr(drawing))]
    turns = [cv2.getRotationMatrix2D((CANVAS / 2, CANVAS / 2), turn, 1) for turn in TURNS]
    turned = [cv2.warpAffine(each, turn, each.shape) > 127 for each in drawings for turn in turns]
    return np.array([_normalise(each[_ink(each)]) for each in turned])


def _ink(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _normalise(mask):
    """A mask in the middle of a square, blurred, of mean 0 and norm 1: float32 (TEMPLATE**2,)."""
    height, width = mask.shape
    size = [max(1, round(length * INK / max(mask.shape))) for length in (width, height)]
    left, top = ((TEMPLATE - length) // 2 for length in size)
    square = np.zeros((TEMPLATE, TEMPLATE), np.float32)
    reduced = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    square[top : top + size[1], left : left + size[0]] = reduced
    square = cv2.GaussianBlur(square, (0, 0), 1)
    square -= square.mean()
    return (square / np.linalg.norm(square)).ravel()


def _letters(text):
    font, look = ImageFont.load_default(80), {"anchor": "mm", "fill": 255}
    for letter, bold in product(text, BOLD):
        yield _shape("text", (80, 80), letter, font=font, stroke_width=bold, **look)


def _lead_ls():
    """An L as markers of lead have it: with a foot of another length, upright or slanted."""
    for foot, slant, stroke in product((72, 96, 120), (0, 15), (12, 20, 28)):
        yield _shape(
            "line", [(20 + slant, 20), (20, 140), (20 + foot, 140)], 255, stroke, joint="curve"
        )


def _other_shapes():
    """uint8 (CANVAS, CANVAS): discs, rings, frames, bars, triangles, arcs, angles, crossings."""
    for half in (60, 48, 36, 26, 16, 8):
        yield _shape("rectangle", [80 - half, 20, 80 + half, 140], fill=255)
    for half, stroke in product((60, 48, 36), (8, 16, 26, 36, 60)):
        yield _shape("ellipse", [80 - half, 20, 80 + half, 140], outline=255, width=stroke)
        yield _shape("rectangle", [80 - half, 20, 80 + half, 140], outline=255, width=stroke)
    for tip, end in product((20, 80), (80, 110, 140)):
        yield _shape("polygon", [(tip, 20), (20, 140), (end, 140)], fill=255)
    for stroke in (12, 22, 34):
        for angle in (90, 130, 180, 240):
            yield _shape("arc", [10, 10, 150, 150], 0, angle, fill=255, width=stroke)
        for angle in (30, 50, 130):
            ends = [(80 - x, 20 + y) for x, y in (_ray(angle, 100), _ray(-angle, 100))]
            yield _shape("line", [ends[0], (80, 20), ends[1]], 255, stroke, joint="curve")
        for angle in (20, 45, 70, 90):
            lines = [
                [(80 - x, 80 - y), (80 + x, 80 + y)] for x, y in (_ray(angle, 70), _ray(-angle, 70))
            ]
            yield np.maximum(*(_shape("line", line, 255, stroke) for line in lines))


def _ray(angle, length):
    """A vector at half the angle (degrees) from downwards."""
    half = np.radians(angle / 2)
    return length * np.sin(half), length * np.cos(half)


def _shape(kind, *points, **look):
    image = Image.new("L", (CANVAS, CANVAS))
    getattr(ImageDraw.Draw(image), kind)(*points, **look)
    return np.asarray(image)
