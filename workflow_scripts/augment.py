"""Augment one split of the COVID-19 images to disk.

Each class has its own number of rotations and translations, and each result is stored unflipped and
flipped, so that the classes end up about equal in size. Writes OUT.npy, uint8 (n, size, size), and
OUT.csv: image, class, variant, rotation_degrees, shift_x, shift_y, flipped.
"""

import pandas as pd
from cxr.cli import InputError, pair, parser, progress, user_errors
from cxr.data.augmentation import apply_variants, draw_variants
from cxr.data.image_sets import ImageSet, add_image_set, image_writer, open_images
from cxr.files import write_table


def augment(images, out, rotations, translations, limits, include_original, fill, seed):
    pixels, table = open_images(images)
    if missing := sorted(set(table["class"]) - (rotations.keys() & translations.keys())):
        raise InputError(
            f"{images}: no number of rotations and translations for class {missing[0]!r}"
        )
    rows, out = [], ImageSet.of(out)
    with image_writer(out.array, pixels.shape[1]) as append:
        for image, name, original in progress(
            zip(table.image, table["class"], pixels, strict=True), "augmenting", total=len(table)
        ):
            variants = draw_variants(
                image, seed, rotations[name], translations[name], limits, include_original
            )
            rows += [(image, name, number, *variant) for number, variant in enumerate(variants)]
            for moved in apply_variants(original, variants, fill):
                append(moved)
    columns = ["image", "class", "variant", "rotation_degrees", "shift_x", "shift_y", "flipped"]
    write_table(out.table, pd.DataFrame(rows, columns=columns).astype({"flipped": int}))


if __name__ == "__main__":
    arguments = parser(__doc__)
    add_image_set(arguments, "--images", "images of one split")
    add_image_set(arguments, "--out", "images to write")
    for name in ("rotations", "translations"):
        arguments.add_argument(
            f"--{name}", type=pair(int), nargs="+", required=True, metavar="CLASS=N"
        )
    arguments.add_argument(
        "--rotation-degrees", type=float, required=True, help="largest rotation, in degrees"
    )
    arguments.add_argument("--shift-x", type=int, required=True, help="largest shift, in pixels")
    arguments.add_argument("--shift-y", type=int, required=True, help="largest shift, in pixels")
    arguments.add_argument(
        "--include-original", action="store_true", help="leave the first variant unchanged"
    )
    arguments.add_argument(
        "--fill", type=int, default=0, help="grey value of corners that rotation opens"
    )
    arguments.add_argument("--seed", type=int, required=True)
    chosen = arguments.parse_args()
    with user_errors():
        augment(
            chosen.images,
            chosen.out,
            dict(chosen.rotations),
            dict(chosen.translations),
            (chosen.rotation_degrees, chosen.shift_x, chosen.shift_y),
            chosen.include_original,
            chosen.fill,
            chosen.seed,
        )
