"""Radiograph-like phantoms of the chest, drawn by a seeded rule.

A picture is a brightness map (float32, 0 air to 1 dense) over chest coordinates: x from the midline
to the right of the picture, y downwards, about -1 to 1 from edge to edge. Shapes are masks in
[0, 1] that pull the brightness towards a value.
"""

from typing import NamedTuple

import numpy as np
from PIL import Image

BRIGHTEST = 225  # grey value that anatomy never exceeds; burnt-in text does
VISIBLE = 0.25  # share of the way to dense, or to air, from which a mark counts as showing


class Mark(NamedTuple):
    """What a disease does to the lung fields: elliptical patches, in chest coordinates."""

    x: float  # distance of the centre from the midline; the side is drawn by chance
    y: float
    width: float  # half axes
    height: float
    strength: float  # share of the way to dense or, if negative, to air
    patches: int = 1
    spread: tuple[float, float] = (0.04, 0.06)  # of the patches' centres, each way
    edge: float = 0.8  # width of the soft edge, in half axes
    bilateral: bool = False  # on both sides, else on one


MARKS = {
    "Atelectasis": Mark(0.38, 0.30, 0.24, 0.05, 0.8),
    "Cardiomegaly": Mark(0.10, 0.36, 0.42, 0.36, 0.9, edge=0.3, bilateral=True),
    "Consolidation": Mark(0.40, -0.35, 0.20, 0.16, 0.9),
    "Edema": Mark(0.22, -0.05, 0.24, 0.32, 0.65, edge=1.2, bilateral=True),
    "Effusion": Mark(0.45, 0.55, 0.40, 0.30, 1.0, edge=0.4),
    "Emphysema": Mark(0.40, -0.05, 0.50, 0.90, -0.7, bilateral=True),
    "Fibrosis": Mark(0.42, 0.25, 0.03, 0.03, 0.7, 14, (0.16, 0.16), bilateral=True),
    "Hernia": Mark(0.12, 0.45, 0.24, 0.18, 0.9, edge=0.2, bilateral=True),
    "Infiltration": Mark(0.42, 0.10, 0.26, 0.28, 0.5, edge=1.4),
    "Mass": Mark(0.40, -0.10, 0.12, 0.12, 0.9, spread=(0.08, 0.2), edge=0.5),
    "Nodule": Mark(0.40, -0.10, 0.045, 0.045, 0.9, 3, (0.12, 0.25), edge=0.4),
    "Pleural_Thickening": Mark(0.68, 0.05, 0.09, 0.50, 0.9, edge=0.8),
    "Pneumonia": Mark(0.40, 0.12, 0.30, 0.40, 0.95, spread=(0.04, 0.10)),
    "Pneumothorax": Mark(0.52, -0.45, 0.24, 0.30, -0.9, edge=0.3),
}
COVID19 = Mark(0.48, 0.0, 0.11, 0.10, 0.8, 14, (0.14, 0.34), edge=1.3, bilateral=True)


def draw_frontal(marks, size, rng):
    """Frontal view with marks (a list of Mark) in its lungs; uint8 (size, size)."""
    return draw_parts(marks, size, rng)[0]


def draw_marked(marks, size, rng):
    """draw_frontal's picture, and where each of its marks shows: bool (len(marks), size, size)."""
    return draw_parts(marks, size, rng)[:2]


def draw_parts(marks, size, rng):
    """draw_marked's picture and marks, and where its lungs are: bool (size, size).

    Lungs reach to diaphragm and mediastinum and hold what lies behind the heart. A mark shows where
    it takes the tissue at least VISIBLE of the way to dense, or to air, and neither heart nor spine
    nor abdomen lies over it.
    """
    x, y = chest_grid(size, rng)
    side = np.abs(x)
    thorax = inside(np.hypot(x / (0.80 + 0.12 * y), (y - 0.12) / 0.98), 1, 0.16)
    dome = rng.uniform(0.54, 0.66) - 0.06 * inside(x, 0, 0.3) + 1.1 * (side - 0.38) ** 2
    abdomen = 1 - inside(y, dome, 0.08)
    lungs = thorax * (1 - abdomen)
    shoulders = -0.80 + 0.40 * np.clip(side - 0.25, 0, 2) ** 1.5
    body = np.maximum(1 - inside(y, shoulders, 0.25), inside(side, 0.26, 0.12))
    body *= inside(side, 1.00 + 0.15 * y**2, 0.20)

    picture = 0.03 + 0.53 * body
    picture = blend(picture, 0.27 + 0.10 * np.clip(y, -1, 1), 0.94 * lungs)
    hilum, angle = np.hypot(side - 0.15, y), np.arctan2(y, side - 0.15)
    vessels = np.clip(np.cos(9 * (angle + 0.1 * clouds(x, 9, rng))), 0, 1) ** 2
    picture = blend(picture, 0.62, np.exp(-hilum / 0.20) * (0.35 + 0.4 * vessels) * lungs)
    drawn = [abs(mark.strength) * (patches(mark, x, y, rng) * lungs) for mark in marks]
    for mark, mask in zip(marks, drawn, strict=True):
        picture = blend(picture, 0.80 if mark.strength > 0 else 0.05, mask)

    ribs = np.cos(2 * np.pi * (y - 0.6 * (side - 0.2) ** 2) / 0.18 + rng.uniform(0, 6))
    front_ribs = np.cos(2 * np.pi * (y + 0.6 * side) / 0.24 + rng.uniform(0, 6))
    cage = np.clip(ribs, -0.2, 0.7) + 0.5 * np.clip(front_ribs, -0.2, 0.7)
    picture += 0.09 * cage * thorax * (1 - 0.7 * abdomen)
    clavicle = inside(np.abs(y + 0.60 + 0.22 * side), 0.035, 0.04) * inside(side, 0.8, 0.1)
    picture += 0.10 * clavicle * body
    heart = ellipse(x - 0.35 * (y - 0.3), y, (0.12, 0.34), (rng.uniform(0.28, 0.36), 0.42), 0.35)
    mediastinum = inside(side, 0.13 + 0.05 * y**2, 0.12) * body
    over = ((0.84, 0.9 * abdomen * body), (0.82, 0.92 * heart), (0.80, 0.9 * mediastinum))
    for value, mask in over:
        picture = blend(picture, value, mask)
        drawn = [(1 - mask) * below for below in drawn]
    vertebrae = inside(side, 0.09, 0.06) * np.cos(2 * np.pi * y / 0.15)
    trachea = inside(side, 0.05, 0.05) * inside(y, -0.25, 0.15)
    picture = expose(picture + 0.025 * vertebrae * body - 0.20 * trachea * body, size, rng)
    shown = [resize(mask, size) >= VISIBLE for mask in drawn]
    outlined = resize(lungs * (1 - mediastinum), size) >= 0.5
    return picture, np.array(shown, bool).reshape(-1, size, size), outlined


def elsewhere(picture, rng):
    """A frontal view as another hospital takes it: uint8 (1.25 size, size), of uint8 (size, size).

    A portrait format; a film that is darker between air and bone, and brighter at its white; and
    collimator blades, black, that leave open 80 to 96 % of the width and of the height.
    """
    size = len(picture)
    grey = 245 * (picture / np.float32(BRIGHTEST)) ** rng.uniform(1.5, 1.9)
    tall = Image.fromarray(grey.clip(0, 255).astype(np.uint8))
    grey = np.array(tall.resize((size, round(1.25 * size)), Image.Resampling.BICUBIC))
    for view in (grey, grey.T):
        first, last = (rng.uniform(0.02, 0.10, 2) * len(view)).astype(int)
        view[:first] = view[len(view) - last :] = 0
    return grey


def draw_lateral(size, rng):
    """Side view; uint8 (size, size)."""
    x, y = chest_grid(size, rng)
    torso = inside(np.hypot(x / (0.66 + 0.08 * y), (y - 0.2) / 1.4), 1, 0.20)
    arm = ellipse(x, y, (-0.05, -0.95), (0.62, 0.50), 0.4)
    body = np.maximum(torso, arm)
    abdomen = 1 - inside(y, 0.50 - 0.3 * x + 0.5 * x**2, 0.10)
    back = np.abs(x - 0.42 + 0.25 * (y - 0.1) ** 2)
    picture = blend(0.03 + 0.55 * body, 0.25, 0.9 * ellipse(x, y, (0.02, 0.0), (0.52, 0.8), 0.35))
    picture = blend(picture, 0.62, 0.8 * arm)
    picture = blend(picture, 0.80, 0.8 * ellipse(x + 0.3 * y, y, (-0.1, 0.3), (0.26, 0.34), 0.5))
    vertebrae = inside(back, 0.10, 0.08) * (1 + 0.3 * np.cos(2 * np.pi * y / 0.16))
    picture = blend(picture, 0.80, 0.5 * vertebrae * torso)
    picture = blend(picture, 0.85, 0.9 * abdomen * body)
    ribs = np.cos(2 * np.pi * (y - 0.5 * x) / 0.18 + rng.uniform(0, 6))
    return expose(picture + 0.05 * np.clip(ribs, -0.2, 0.7) * torso, size, rng)


def chest_grid(size, rng):
    """Chest coordinates x and y of a body posed by chance; float32, half the picture's size.

    Half, because a body is smooth: it is four times as fast, and expose() adds what is fine.
    """
    across = np.linspace(-1, 1, size // 2, dtype=np.float32)
    x, y = np.meshgrid(across - rng.uniform(-0.06, 0.06), across - rng.uniform(-0.06, 0.06))
    angle, scale = np.radians(rng.uniform(-5, 5)), rng.uniform(0.86, 1.02)
    cos, sin = np.float32(scale * np.cos(angle)), np.float32(scale * np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def inside(value, limit, edge):
    """Mask: 1 where value is below limit, 0 where above, smooth across a width of edge."""
    step = np.clip(0.5 + (limit - value) / edge, 0, 1)
    return step * step * (3 - 2 * step)


def ellipse(x, y, centre, half_axes, edge):
    """Mask of an ellipse; edge is in units of the half axes."""
    across, along = (x - centre[0]) / half_axes[0], (y - centre[1]) / half_axes[1]
    return inside(np.hypot(across, along), 1, edge)


def blend(picture, value, mask):
    """Pull picture towards value by mask, of -1 to 1 in size."""
    return picture + (value - picture) * mask


def patches(mark, x, y, rng):
    """Mask of a mark's patches, ragged at their edges."""
    x, y = x + 0.02 * clouds(x, 16, rng), y + 0.02 * clouds(x, 16, rng)
    clear = np.ones_like(x)
    for side in (-1, 1) if mark.bilateral else (rng.choice((-1, 1)),):
        for _ in range(mark.patches):
            across, down = rng.normal((mark.x, mark.y), mark.spread)
            half_axes = np.array((mark.width, mark.height)) * rng.uniform(0.85, 1.15, 2)
            clear *= 1 - ellipse(x, y, (side * across, down), half_axes, mark.edge)
    return 1 - clear


def clouds(like, cells, rng):
    """Smooth noise of standard deviation about 1, its grain 1 / cells of the picture's size."""
    return resize(rng.normal(size=(cells, cells)), len(like))


def resize(values, size):
    """float array to float32 (size, size), bicubic."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC))


def expose(picture, size, rng):
    """Brightness to grey values: uneven tissue, noise, contrast by chance; uint8 (size, size)."""
    tissue = 1 + 0.04 * clouds(picture, 6, rng) + 0.025 * clouds(picture, 40, rng)
    noise = 0.012 * rng.standard_normal((size, size), dtype=np.float32)
    exposed = np.clip(resize(picture * tissue, size) + noise, 0, 1) ** rng.uniform(0.85, 1.2)
    return (BRIGHTEST * rng.uniform(0.88, 1) * exposed).astype(np.uint8)
