"""Rotation, translation and flip of grey images: 8 or 72 variants of each (section 5.2)."""

import hashlib
from typing import NamedTuple

import numpy as np
from PIL import Image


class Variant(NamedTuple):
    """How one variant is made: degrees counter-clockwise, then pixels right and down, then flip."""

    rotation_degrees: float
    shift_x: int
    shift_y: int
    flipped: bool


def draw_variants(image, seed, rotations, translations, limits, include_original):
    """The variants of one image: rotations x translations x {unflipped, flipped}.

    image: its name; with the seed it alone decides what is drawn, whatever other images there
    are. limits: (degrees, pixels sideways, pixels up and down), the largest amounts both ways.
    include_original: the first rotation and, of each rotation, the first translation are zero.
    """
    rng = np.random.default_rng([seed, *hashlib.sha256(image.encode()).digest()])
    degrees, shift_x, shift_y = limits
    variants = []
    for rotation in range(rotations):
        angle = round(rng.uniform(-degrees, degrees), 2)
        if include_original and rotation == 0:
            angle = 0.0
        for translation in range(translations):
            right, down = (
                int(rng.integers(-most, most, endpoint=True)) for most in (shift_x, shift_y)
            )
            if include_original and translation == 0:
                right = down = 0
            variants += [Variant(angle, right, down, flipped) for flipped in (False, True)]
    return variants


def apply_variants(pixels, variants, fill):
    """Yield uint8 (h, w) of each variant of pixels, uint8 (h, w).

    Rotation is about the centre, bilinear; corners and borders that it opens get fill.
    """
    degrees, turned = 0.0, Image.fromarray(pixels)
    for variant in variants:
        if variant.rotation_degrees != degrees:  # one rotation serves its translations and flips
            degrees = variant.rotation_degrees
            turned = Image.fromarray(pixels)
            turned = turned.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)
        image = turned
        if variant.shift_x or variant.shift_y:
            image = Image.new("L", turned.size, fill)
            image.paste(turned, (variant.shift_x, variant.shift_y))
        moved = np.asarray(image)
        yield moved[:, ::-1] if variant.flipped else moved
