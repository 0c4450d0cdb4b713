"""Show the variants of the first augmented image of each class, at most --most per class."""

from pathlib import Path

from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_images
from cxr.figures import contact_sheet

COLUMNS = 8


def plot_variants(images, most, out):
    pixels, table = open_images(images)
    first = table.groupby("class", sort=False).image.transform("first") == table.image
    shown = table[first].groupby("class", sort=False).head(most)
    captions = [
        f"{row.image.split('/')[-1]}\n{row.rotation_degrees:g} degrees, {row.shift_x:+d} "
        f"{row.shift_y:+d} px{', flipped' if row.flipped else ''}"
        for row in shown.itertuples()
    ]
    contact_sheet(out, [pixels[row] for row in shown.index], captions, COLUMNS)


if __name__ == "__main__":
    arguments = parser(__doc__)
    add_image_set(arguments, "--images", "images of augment")
    arguments.add_argument("--most", type=int, default=24, help="variants per class; default: 24")
    arguments.add_argument("--out", type=Path, required=True, help="JPEG to write")
    with user_errors():
        plot_variants(**vars(arguments.parse_args()))
