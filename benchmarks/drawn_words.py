"""Words and letters drawn into X-rays that have none, by kind: what OCR's settings are tuned on."""

import cv2
import matplotlib
import numpy as np
from cxr.data.decoding import read_grey
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

# COVID-19 images of covid19-mini without text, by eye, that are in none of its lists of text.
TEXTLESS = (
    "1 2 3 4 6 9 10 11 14 15 17 18 21 23 25 26 28 29 31 33 34 35 41 42 "
    "44 45 46 47 48 49 51 55 56 63 64 65 67 71 72 73 75 77 79 81 82 87 89 91 "
    "93 94 96 100 101 106 107 108 110 112 113 114 122 124 128 130 "
).split()
KINDS = (
    "word, dark word, small faint line, initials, letter, dark letter, faint letter, "
    "ringed letter, framed letter, plate, turned letter, mirrored letter, cut word, cut letter"
).split(", ")
FONTS = "DejaVuSans DejaVuSans-Bold DejaVuSansMono-Bold DejaVuSerif-Bold STIXGeneral cmss10".split()
FONTS += ["pillow", "hershey"]
WORDS = "PORTABLE SUPINE ERECT BEDSIDE AP PA SEDUTO UPRIGHT SITTING 14:05".split()
LINES = ("29/02/2020 01:36", "PORTABLE AP", "IM: 1", "W: 4096 C: 2048", "kV 90 mAs 2")
INITIALS = "HS JC DMD JFC DD KM TR GV WN HB RA".split()
LETTERS = "LLLLRRRRSSDDABCPEJ"
# Text, its height and its contrast with the background, of an image of 512 x 512.
LOOKS = {
    "word": (WORDS, (8, 24), (80, 255)),
    "line": (LINES, (6, 9), (40, 90)),
    "initials": (INITIALS, (8, 15), (60, 140)),
    "ringed": (LETTERS, (11, 18), (80, 255)),
    "plate": (LETTERS, (12, 24), (80, 255)),
    "faint": (LETTERS, (11, 34), (30, 55)),
    "letter": (LETTERS, (11, 34), (80, 255)),
}


def drawn(folder, seed, per_image=4):
    """Yields each image, a copy with text, and the text: list of (kind, (x0, y0, x1, y1))."""
    number = 0
    for place, name in enumerate(TEXTLESS):
        rng = np.random.default_rng([seed, place])
        image = read_grey(folder / f"COVID-19/COVID-19 ({name}).png")
        pixels, taken, text = np.asarray(image).astype(np.float32), [], []
        for _ in range(per_image):
            kind = KINDS[number % len(KINDS)]
            box = draw(pixels, kind, taken, rng)
            text += [(kind, box)] if box else []
            number += 1
        yield image, Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8)), text


def draw(pixels, kind, taken, rng):
    """Draw into float32 (h, w) in place; the box of the text, or None where it found no place."""
    look = next(look for name, look in LOOKS.items() if name in kind or name == "letter")
    ink, frame = masks(kind, look, rng)
    for _ in range(200):
        x, y = position(pixels.shape, ink.size, kind, rng)
        box = (max(x, 0), max(y, 0), *map(min, (x + ink.width, y + ink.height), pixels.shape[::-1]))
        contrast = rng.uniform(*look[2])
        local = pixels[box[1] : box[3], box[0] : box[2]]
        if min(local.shape) >= 3 and not near(box, taken) and fits(local, contrast, kind):
            break
    else:
        return None
    taken.append(box)
    start = (box[0] - x, box[1] - y)
    blur = ImageFilter.GaussianBlur(rng.uniform(0, 0.7))
    ink, frame = (
        np.asarray(mask.filter(blur), np.float32)[start[1] :, start[0] :][
            : local.shape[0], : local.shape[1]
        ]
        / 255
        for mask in (ink, frame)
    )
    low, high = local.min(), np.percentile(local, 95)
    value = max(0, low - contrast) if "dark" in kind else min(255, high + contrast)
    local += frame * (value - local)
    local += ink * ((np.median(pixels) / 2 if kind == "plate" else value) - local)
    rows, columns = np.nonzero(ink > 0.3)
    if not len(rows):
        return None
    corner = np.tile(box[:2], 2)
    inner = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return tuple((corner + inner).tolist())


def masks(kind, look, rng):
    """The text and what is around it (ring, frame, plate), as PIL images of one size."""
    texts, heights, _ = look
    text, height = texts[rng.integers(len(texts))], rng.uniform(*heights)
    mask = lettering(text, height, FONTS[rng.integers(len(FONTS))], rng)
    if kind in ("initials", "turned letter"):
        turn = rng.uniform(-25, 25) + 90 * (rng.integers(4) if kind == "turned letter" else 0)
        mask = mask.rotate(turn, expand=True, resample=Image.Resampling.BICUBIC)
    mask = ImageOps.mirror(mask) if kind == "mirrored letter" else mask
    mask = mask.crop(mask.getbbox())
    if kind not in ("ringed letter", "framed letter", "plate"):
        return mask, Image.new("L", mask.size)
    border = round(max(mask.size) * rng.uniform(0.3, 0.6))
    side = max(mask.size) + 2 * border
    framed = ImageOps.pad(Image.new("L", (side, side)), (side, side))
    framed.paste(mask, ((side - mask.width) // 2, (side - mask.height) // 2))
    frame, box = Image.new("L", (side, side)), [1, 1, side - 2, side - 2]
    stroke = max(1, round(height / rng.uniform(7, 14)))
    if kind == "ringed letter":
        ImageDraw.Draw(frame).ellipse(box, outline=255, width=stroke)
    elif kind == "framed letter":
        ImageDraw.Draw(frame).rectangle(box, outline=255, width=stroke)
    else:
        ImageDraw.Draw(frame).rounded_rectangle(box, radius=border / 2, fill=255)
    return framed, frame


def lettering(text, height, font, rng):
    """Text of about that height as a PIL image of its ink."""
    if font == "hershey":
        scale, stroke = height / 21, max(1, round(height / 21 * rng.uniform(1.5, 3)))
        (width, tall), base = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, stroke)
        pixels = np.zeros((tall + base + 20, width + 20), np.uint8)
        look = (cv2.FONT_HERSHEY_SIMPLEX, scale, 255, stroke, cv2.LINE_AA)
        mask = Image.fromarray(cv2.putText(pixels, text, (10, tall + 10), *look))
    else:
        ttf = f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf"
        size = height / 0.72
        look = ImageFont.load_default(size) if font == "pillow" else ImageFont.truetype(ttf, size)
        mask = Image.new("L", (round(height * len(text) * 1.5) + 20, round(2 * height) + 20))
        ImageDraw.Draw(mask).text((10, 10), text, fill=255, font=look)
    return mask.crop(mask.getbbox())


def position(shape, size, kind, rng):
    """Left and top within a quarter of a border, or beyond it where the kind is cut."""
    room = np.array(shape[::-1]) - size
    corner = rng.integers(0, room)
    axis, far = rng.integers(2), rng.integers(2)
    axis = 1 if kind == "cut letter" else axis
    edge = rng.uniform(0, 0.25 * room[axis])
    if kind.startswith("cut"):
        edge = -rng.uniform(0.15, 0.4) * size[axis]
    corner[axis] = round(room[axis] - edge if far else edge)
    return corner.tolist()


def near(box, taken, gap=30):
    return any(
        box[0] < other[2] + gap
        and other[0] < box[2] + gap
        and box[1] < other[3] + gap
        and other[1] < box[3] + gap
        for other in taken
    )


def fits(local, contrast, kind):
    """Whether text of that contrast can be seen there."""
    low, high = np.percentile(local, [5, 95])
    if "dark" in kind:
        return low > 0.6 * contrast + 20
    return high <= 190 and ("faint" not in kind or high - low <= 0.7 * contrast)
