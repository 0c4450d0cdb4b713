"""TIFF by tifffile: grey and RGB of any depth up to 16 bits, tiled or not, however compressed."""

import io
import logging
import math
from typing import NamedTuple

import numpy as np
from PIL import Image

from cxr.data.pixels import (
    SEVERAL,
    Picture,
    UnreadableImage,
    check_size,
    content_depth,
    decoder_errors,
    on_black,
    range_of_content,
    to_8_bits,
    upright,
)

WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2  # PhotometricInterpretation
UNASSOCIATED = 2  # ExtraSamples: alpha that pixels are not yet multiplied with
COMPLEX_OR_FLOAT = (3, 5, 6)  # SampleFormat
ORIENTATION, SMALLEST, LARGEST = 274, (280, 340), (281, 341)  # tags


class Layout(NamedTuple):
    """What a page's tags say of its pixels."""

    photometric: int
    bits: int
    samples: int
    alpha: bool  # that pixels are not yet multiplied with
    orientation: object
    black: int
    white: int


def decode_tiff(content, otherwise):
    """Picture of the first page of a TIFF's bytes.

    otherwise: decoder of pages that are neither grey nor RGB, or have 1 bit a pixel.
    """
    try:
        import imagecodecs  # noqa: F401  # tifffile imports it when it needs it
        import tifffile
    except ImportError as error:
        message = "TIFF needs tifffile and imagecodecs: pip install tifffile imagecodecs"
        raise UnreadableImage(message) from error
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # it logs what it then raises
    with decoder_errors(), tifffile.TiffFile(io.BytesIO(content)) as file:
        page, several = file.pages.first, has_second(file.pages)
        check_page(page, len(content))
        native = page.photometric in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB) and page.bitspersample > 1
        layout, pixels = (layout_of(page), samples_of(page)) if native else (None, None)
    picture = tiff_to_image(layout, pixels) if native else otherwise(content)
    if several:
        picture.warnings.append(SEVERAL)
    return picture


def has_second(pages):
    """Whether there is a second page; what a damaged pointer leads to is none."""
    try:
        return pages[1] is not None
    except Exception:  # tifffile raises what it pleases; the first page is read either way
        return False


def check_page(page, size):
    """Raise UnreadableImage for a page of implausible size, or of which data are missing.

    tifffile leaves what is missing as it was in memory. size: bytes of the file.
    """
    check_size(page.imagewidth, page.imagelength * page.imagedepth)
    if page.is_tiled:
        check_size(page.tilewidth, page.tilelength * page.tiledepth)
    if not (3 if page.photometric == RGB else 1) <= page.samplesperpixel <= 5:
        raise UnreadableImage(f"{page.samplesperpixel} samples a pixel; expected 1 to 5")
    if page.sampleformat in COMPLEX_OR_FLOAT:
        raise UnreadableImage("pixels are floating-point numbers; expected 8 or 16 bits")
    places = list(zip(page.dataoffsets, page.databytecounts, strict=False))
    if page.is_contiguous:
        places = [(page.dataoffsets[0], page.nbytes)]
    elif len(places) < math.prod(page.chunked):
        raise UnreadableImage("the TIFF is cut short")
    if not all(n > 0 and start + n <= size for start, n in places):
        raise UnreadableImage("the TIFF is cut short")


def layout_of(page):
    colours = 3 if page.photometric == RGB else 1
    return Layout(
        photometric=int(page.photometric),
        bits=page.bitspersample,
        samples=page.samplesperpixel,
        alpha=page.samplesperpixel > colours and page.extrasamples[:1] == (UNASSOCIATED,),
        orientation=page.tags.valueof(ORIENTATION),
        black=tagged(page, SMALLEST, min, 0),
        white=tagged(page, LARGEST, max, (1 << page.bitspersample) - 1),
    )


def samples_of(page):
    """A page's pixels, integers (h, w, samples)."""
    pixels = page.asarray(squeeze=False)  # separate samples, depth, height, width, samples
    separate, depth, height, width, together = pixels.shape
    expected = (1, page.imagelength, page.imagewidth, page.samplesperpixel)
    if (depth, height, width, separate * together) != expected or not pixels.size:
        raise UnreadableImage("the page is no picture in rows and columns")
    return pixels[:, 0].transpose(1, 2, 0, 3).reshape(height, width, -1)


def tagged(page, numbers, pick, default):
    """The least or largest value, as pick says, of a tag; default if the page has none of them."""
    found = [page.tags.valueof(number) for number in numbers if number in page.tags]
    return pick(int(value) for value in np.ravel(found[0])) if found else default


def tiff_to_image(layout, pixels):
    """Picture of a page's samples, integers (h, w, samples)."""
    n_colours = 3 if layout.photometric == RGB else 1
    colours = pixels[..., 0] if n_colours == 1 else pixels[..., :3]
    black, white, found = grey_range(layout, colours)
    shown = to_8_bits(colours, black, white)
    if layout.photometric == WHITE_IS_ZERO:
        shown = 255 - shown
    if layout.alpha:
        shown = on_black(shown, alpha_of(pixels[..., n_colours], layout.bits))
    deep = layout.bits > 8 and n_colours == layout.samples == 1
    mode = "I;16" if deep else ("L" if n_colours == 1 else "RGB") + "A" * layout.alpha
    image, turned = upright(Image.fromarray(shown), layout.orientation)
    return Picture(image, mode, found + turned)


def grey_range(layout, values):
    """(black, white, warnings): by the tags of the range, the bits a sample, or the content."""
    least, largest, full = int(values.min()), int(values.max()), (1 << layout.bits) - 1
    if least < 0:
        raise UnreadableImage("pixels are negative numbers; expected 8 or 16 bits")
    # Many writers note the least and the largest value of the image, which are no range of grey.
    statistics = layout.black in (0, least) and layout.white == largest
    if (layout.black, layout.white) != (0, full) and not statistics:
        tags = "MinSampleValue and MaxSampleValue"
        if layout.black <= least and largest <= layout.white and layout.black < layout.white:
            return layout.black, layout.white, [f"grey range taken from {tags}"]
        return 0, full, [f"pixels are outside of {tags}, which were not used"]
    if layout.bits < 16:
        return 0, full, []
    return 0, *range_of_content(values)


def alpha_of(alpha, bits):
    """Alpha as uint8; in 16 bits it may have the depth of the content."""
    depth = bits if bits < 16 or not alpha.any() else content_depth(int(alpha.max()))
    return to_8_bits(alpha, 0, (1 << depth) - 1)
