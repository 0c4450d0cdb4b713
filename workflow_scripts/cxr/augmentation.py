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


def draw_variants(image, seed, rotations, translations, limits, untouched):
    """The variants of one image: rotations x translations x {unflipped, flipped}.

    image: its name; with the seed it alone decides what is drawn, whatever other images there
    are. limits: (degrees, pixels sideways, pixels up and down), the largest amounts both ways.
    untouched: the first rotation is none and, of each rotation, the first translation is none.
    """
    rng = np.random.default_rng([seed, *hashlib.sha256(image.encode()).digest()])
    degrees, shift_x, shift_y = limits
    variants = []
    for rotation in range(rotations):
        angle = round(rng.uniform(-degrees, degrees), 2)
        if untouched and rotation == 0:
            angle = 0.0
        for translation in range(translations):
            right, down = (
                int(rng.integers(-most, most, endpoint=True)) for most in (shift_x, shift_y)
            )
            if untouched and translation == 0:
                right = down = 0
            variants += [Variant(angle, right, down, flipped) for flipped in (False, True)]
    return variants


def apply_variant(pixels, variant, fill):
    """uint8 (h, w) to the same. Rotation is about the centre, bilinear; corners get fill."""
    image = Image.fromarray(pixels)
    if variant.rotation_degrees:
        image = image.rotate(variant.rotation_degrees, Image.Resampling.BILINEAR, fillcolor=fill)
    if variant.shift_x or variant.shift_y:
        shifted = Image.new("L", image.size, fill)
        shifted.paste(image, (variant.shift_x, variant.shift_y))
        image = shifted
    if variant.flipped:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(image)
