"""Which grey images are the same picture, copies that were edited included.

Candidates: each picture is described by the local contrast of its centre, a unit vector, and looked
for moved, scaled, rotated and mirrored; the size of a cosine doesn't see that a copy is inverted.
Each candidate is then registered by an affine transformation that maximises the correlation of
local contrast (ECC: Evangelidis & Psarakis 2008, doi:10.1109/TPAMI.2008.113). Two images are the
same picture if the local contrast of small windows then correlates, in the median window: words,
frames and parts that are missing touch few windows, and grey levels don't matter.
"""

from itertools import product
from typing import NamedTuple

import cv2
import imagehash
import numpy as np
from PIL import Image

from cxr.data.images import to_square

SIZE = 192  # pixels, width and height, that pictures are compared at
DESCRIBED = 96  # pixels, width and height, that descriptors are made from
GRID = 16  # values in each direction of a descriptor
CENTRE = 0.7  # share of the width, and of the height, that a descriptor spans
# What pictures are looked for through: chosen on NIH's X-rays, so that of the edits that
# benchmarks/measure_duplicates.py plants each original is among the five nearest.
SCALES = 1.1 ** np.arange(-3, 4)
ROTATIONS = (-4, 0, 4)  # degrees
SHIFTS = (-0.045, 0, 0.045)  # shares of the width
# Registration: pixels, steps at most, correlation below which a pair is given up. Copies reach 0.6.
LEVELS = ((64, 25, 0.4), (128, 10, 0.45), (SIZE, 30, 0.5))
MOST_SHEAR, MOST_SCALE = 0.1, 1.7  # of a copy; more is no edit, but two chests made to fit
LEAST_OVERLAP = 0.2  # share of the picture in which both have contrast
WHITE = np.full((SIZE, SIZE), 255, np.uint8)
BLOCK = 8  # pictures whose descriptors are multiplied at once,
PART = 4096  # and the others' that they are multiplied with: 50 MB of cosines


class Copy(NamedTuple):
    """Two images that may be the same picture: places in their lists.

    correlation: of local contrast, in the median window, registered; -1 to 1.
    change: what was done to one of them, as far as it can be estimated; "same": nothing.
    """

    first: int
    second: int
    correlation: float
    change: str


def find_copies(pictures, others=None, *, candidates, least, described=None):
    """Copies, among pictures or between pictures and others, sorted by their places.

    pictures, others: sequences of uint8 (size, size), any size. candidates: images that each
    picture is compared with closely, those of the nearest descriptors. least: smallest correlation.
    described: of describe_all, of the others, where they are looked through more than once.
    """
    cv2.setNumThreads(1)
    searched = pictures if others is None else others
    if not len(pictures) or not len(searched):
        return []
    described = describe_all(searched) if described is None else described
    nearest = {}
    for first, second, cosine, warp in near_pairs(pictures, described, candidates, others is None):
        pair = (first, second)
        if others is None and first > second:
            pair, warp = (second, first), np.linalg.inv(warp)
        if abs(cosine) > abs(nearest.get(pair, (0,))[0]):
            nearest[pair] = cosine, warp
    found, one = [], (None, None)
    for (first, second), (cosine, warp) in sorted(nearest.items()):
        if one[0] != first:
            one = first, View(pictures[first])
        other = View(searched[second])
        sign = 1 if cosine > 0 else -1
        registered = register(one[1], other, sign, warp)
        if registered is None:
            continue
        compared = Comparison(one[1], other, sign, registered)
        if (value := compared.correlation()) >= least:
            found.append(Copy(first, second, value, compared.change()))
    return found


def add_settings(arguments, unsure=True):
    """Add the options of covid19.duplicates in config.yaml."""
    arguments.add_argument(
        "--candidates", type=int, required=True, help="images that each is compared with closely"
    )
    arguments.add_argument("--correlation", type=float, required=True, help="at least: the same")
    if unsure:
        arguments.add_argument(
            "--unsure", type=float, required=True, help="at least: shown, but not called the same"
        )


# Candidates


def describe_all(pictures):
    """Descriptors of pictures as they are, float32 (n, GRID**2)."""
    return np.stack([describe(picture, np.eye(3)[None])[0] for picture in pictures])


def describe(picture, warps):
    """Descriptors of a picture, uint8 (size, size), seen through warps: float32 (n, GRID**2).

    warps: (n, 3, 3), from what is seen to the picture, both from -0.5 to 0.5.
    """
    contrast = local_contrast(resized(picture, DESCRIBED), 0.036 * DESCRIBED)
    contrast = cv2.GaussianBlur(contrast, (0, 0), 0.4 * CENTRE * DESCRIBED / GRID)
    pixels = np.linalg.inv(from_pixels(DESCRIBED)) @ warps @ from_pixels(GRID, CENTRE)
    seen = np.stack([warped(contrast, matrix, GRID) for matrix in pixels])
    seen = seen.reshape(len(warps), -1)
    seen -= seen.mean(axis=1, keepdims=True)
    return seen / np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-6)


def variants():
    """The warps through which a picture is looked for, float (n, 3, 3)."""
    found = []
    for scale, degrees, side, x, y in product(SCALES, ROTATIONS, (1, -1), SHIFTS, SHIFTS):
        cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
        found.append([[side * cos, -sin, x], [side * sin, cos, y], [0, 0, 1]])
    return np.array(found)


def near_pairs(pictures, described, candidates, among):
    """Yield (picture, other, cosine, warp) of the others with the nearest descriptors.

    among: whether a picture's own descriptor is that of its place, which is left out.
    """
    warps = variants()
    for start in range(0, len(pictures), BLOCK):
        places = range(start, min(start + BLOCK, len(pictures)))
        seen = np.stack([describe(pictures[place], warps) for place in places])
        best = np.empty((len(places), len(described)), np.float32)
        for part in range(0, len(described), PART):
            cosines = seen.reshape(-1, GRID**2) @ described[part : part + PART].T
            cosines = cosines.reshape(len(places), len(warps), -1)
            best[:, part : part + PART] = np.maximum(cosines.max(axis=1), -cosines.min(axis=1))
        for row, place in enumerate(places):
            if among:
                best[row, place] = -1
            n = min(candidates, len(described) - among)
            for other in np.argsort(-best[row], kind="stable")[:n]:
                cosines = seen[row] @ described[other]
                variant = np.abs(cosines).argmax()
                yield place, int(other), float(cosines[variant]), warps[variant]


# Registration


class View:
    """A picture, uint8 (size, size), as it is compared: grey levels, and local contrast."""

    def __init__(self, picture):
        self.grey = resized(picture, SIZE)
        self.contrasts = {}

    def contrast(self, size):
        """Local contrast at size x size pixels."""
        if size not in self.contrasts:
            smaller = cv2.resize(self.grey, (size, size), interpolation=cv2.INTER_AREA)
            self.contrasts[size] = local_contrast(smaller, max(3.3, 0.026 * size))
        return self.contrasts[size]


def register(one, other, sign, warp):
    """The warp from other to one, Views, that fits best from a first guess; None if none does."""
    for size, steps, least in LEVELS:
        pixels, stop = (
            from_pixels(size),
            (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, steps, 1e-3),
        )
        start = (np.linalg.inv(pixels) @ warp @ pixels)[:2].astype(np.float32)
        images = other.contrast(size), sign * one.contrast(size)
        try:
            value, moved = cv2.findTransformECC(*images, start, cv2.MOTION_AFFINE, stop, None, 5)
        except cv2.error:  # the two don't overlap any more
            return None
        if not value >= least:
            return None
        warp = pixels @ np.vstack([moved, [0, 0, 1]]) @ np.linalg.inv(pixels)
    across, down = np.linalg.norm(warp[:2, :2], axis=0)
    shear = abs(warp[:2, 0] @ warp[:2, 1]) / (across * down)
    fits = shear <= MOST_SHEAR and max(across, down, 1 / across, 1 / down) <= MOST_SCALE
    return warp if fits else None


class Comparison:
    """Two Views, the first warped onto the second and inverted where sign is -1."""

    FLAT = 0.6  # grey levels, standard deviation in a window, at least: else noise

    def __init__(self, one, other, sign, warp):
        self.one, self.other, self.sign, self.warp = one, other, sign, warp
        pixels = from_pixels(SIZE)
        self.pixels = np.linalg.inv(pixels) @ warp @ pixels
        self.moved = warped(one.grey, self.pixels, SIZE, cv2.BORDER_REPLICATE)
        self.inside = shrunk(warped(WHITE, self.pixels, SIZE) == 255, 10)
        first, second = sign * detail(self.moved), detail(other.grey)
        *self.energies, self.products = (
            cv2.GaussianBlur(values * self.inside, (0, 0), 6)
            for values in (first * first, second * second, first * second)
        )

    def correlation(self):
        """Correlation of local contrast in the median window; -1 where too little is in both."""
        clear = self.inside & (np.minimum(*self.energies) > self.FLAT**2)
        if clear.mean() < LEAST_OVERLAP:
            return -1.0
        first, second = (energy[clear] for energy in self.energies)
        return float(np.median(self.products[clear] / np.sqrt(first * second)))

    def change(self):
        """What was done to one of them, as words; image is the first, duplicate the second."""
        turned = self.warp[:2, :2] * [np.sign(np.linalg.det(self.warp[:2, :2])), 1]
        degrees = np.degrees(np.arctan2(turned[1, 0] - turned[0, 1], np.trace(turned)))
        words = ["mirrored"] if np.linalg.det(self.warp[:2, :2]) < 0 else []
        words += ["inverted"] if self.sign < 0 else []
        words += [f"rotated {abs(degrees):.1f} degrees"] if abs(degrees) >= 1 else []
        words += [*self.borders(), *self.greys()]
        return "; ".join(words) or "same"

    def borders(self):
        """Words for what only one of them shows: the picture's rest, or a frame."""
        scale, centre = np.linalg.norm(self.warp[:2, :2], axis=0), self.warp[:2, 2]
        back = np.linalg.inv(self.warp)[:2, 2], self.pixels
        for name, other, view, size, place, pixels in (
            ("image", "duplicate", self.one, scale, centre, np.linalg.inv(self.pixels)),
            ("duplicate", "image", self.other, 1 / scale, *back),
        ):
            # How much of the picture's own square, of width 1, the other's covers, not rotated.
            ends = np.clip([place - size / 2, place + size / 2], -0.5, 0.5)
            if (share := np.prod(np.diff(ends, axis=0))) > 0.97:
                continue
            outside = shrunk(warped(WHITE, pixels, SIZE) == 0, 4)
            framed = outside.any() and np.ptp(np.percentile(view.grey[outside], [10, 90])) <= 3
            yield f"{name} framed" if framed else f"{other} cropped to {share:.0%} of {name}"

    def greys(self):
        """Words for other grey levels, and for marks that one of them has."""
        moved = 255 - self.moved if self.sign < 0 else self.moved
        greys = [
            cv2.GaussianBlur(grey, (0, 0), 2).astype(float) for grey in (moved, self.other.grey)
        ]
        if np.median(np.abs(greys[0] - greys[1])[self.inside]) > 5:
            yield "contrast"
        strong = self.inside & (np.maximum(*self.energies) > 7**2)
        if (strong & (self.products < 0.1 * np.maximum(*self.energies))).mean() > 0.002:
            yield "annotated"


# Pixels


def resized(picture, size):
    """A picture, uint8 (any, any), as uint8 (size, size)."""
    return to_square(Image.fromarray(picture), size)


def from_pixels(size, width=1.0):
    """3 x 3 matrix from pixels of a square to coordinates of -width / 2 to width / 2."""
    step = width / size
    centre = step * (size - 1) / 2
    return np.array([[step, 0, -centre], [0, step, -centre], [0, 0, 1]])


def warped(values, pixels, size, border=cv2.BORDER_CONSTANT):
    """values (h, w) seen through a matrix from pixels that are seen to theirs, (size, size)."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values, pixels[:2], (size, size), flags=flags, borderMode=border)


def local_contrast(pixels, sigma, floor=2.0, most=2.5):
    """Deviation from the surroundings' mean in their standard deviations, float32, clipped."""
    deviation = pixels - cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma)
    spread = np.sqrt(cv2.GaussianBlur(deviation * deviation, (0, 0), 1.5 * sigma))
    return np.clip(deviation / (spread + floor), -most, most)


def detail(pixels):
    """What is about 1 to 4 pixels in size, float32 grey levels."""
    smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), 1)
    return smooth - cv2.GaussianBlur(smooth, (0, 0), 4)


def shrunk(mask, by):
    """A mask without what is within some pixels of its edge or the picture's."""
    around = np.ones((2 * by + 1, 2 * by + 1), np.uint8)
    return cv2.erode(mask.astype(np.uint8), around, borderValue=0).astype(bool)


def hash_distance(first, second):
    """Bits of 64 in which the perceptual hashes of two pictures, uint8 (size, size), differ."""
    one, other = (imagehash.phash(Image.fromarray(picture)) for picture in (first, second))
    return int(one - other)
