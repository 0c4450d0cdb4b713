"""Data preparation: the plain way against this workflow's, interleaved; CPU seconds and ratios.

P1  an archive of ChestX-ray14 to a uint8 array. Plain: unpack it to disk, then per image PIL,
    RGB, torchvision's Resize, CenterCrop, ToTensor, Normalize, as public CheXNet reproductions do.
P2  a batch of 16 for training. Plain: those PNGs decoded anew. Ours: uint8 rows of a memory map,
    normalised on the CPU, or as they go to a GPU.
P3  augmentation to disk. Plain: torchvision on PIL images, a PNG per variant.

With --archive a tar.gz of PNGs as NIH ships them, else 40 images are drawn, 1024 x 1024.
"""

import argparse
import io
import statistics
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional

sys.path.insert(0, str(Path(__file__).parent.parent / "workflow_scripts"))
from cxr.data.augmentation import apply_variants, draw_variants
from cxr.data.decoding import read_grey
from cxr.data.image_sets import image_writer
from cxr.data.images import to_square
from cxr.data.phantoms import MARKS, draw_frontal
from cxr.nets.torch_nets import normalise
from prepare_chestxray14 import read_archive

SIZE, BATCH, N_DRAWN = 224, 16, 40
IMAGENET = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
PLAIN = transforms.Compose(
    [transforms.Resize(SIZE), transforms.CenterCrop(SIZE), transforms.ToTensor(), IMAGENET]
)


def main(archive, repeats):
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        archive = archive or draw_archive(folder / "drawn.tar.gz")
        unpacked = folder / "unpacked"
        n = sum(1 for _ in read_archive(archive))
        compare(
            f"P1 preparing, per image of {n}",
            {
                "unpack, PIL, torchvision": lambda: prepare_plainly(archive, unpacked),
                "streamed to an array": lambda: prepare(archive, folder / "images.npy"),
            },
            n,
            repeats,
        )
        files = sorted(unpacked.rglob("*.png"))[:BATCH]
        images = np.load(folder / "images.npy", mmap_mode="r")
        compare(
            "P2 loading, per image",
            {
                "PNG decoded": lambda: torch.stack([load_plainly(file) for file in files]),
                "array, float on the CPU": lambda: normalise(
                    torch.from_numpy(images[:BATCH].copy())
                ),
                "array, uint8 to the device": lambda: torch.from_numpy(images[:BATCH].copy()),
            },
            BATCH,
            repeats,
        )
        squares = images[:4]
        drawn = [draw_variants(str(n), 0, 6, 6, (40, 40, 28), True) for n in range(len(squares))]
        compare(
            "P3 augmenting, per variant",
            {
                "torchvision, a PNG each": lambda: augment_plainly(squares, drawn, folder),
                "to an array": lambda: augment(squares, drawn, folder / "augmented.npy"),
            },
            sum(map(len, drawn)),
            repeats,
        )


def compare(title, ways, n, repeats):
    """Print the median CPU milliseconds per item of each way, and its ratio to the first."""
    taken = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.process_time()
            way()
            taken[name].append((time.process_time() - start) / n * 1000)
    print(title)
    first = statistics.median(next(iter(taken.values())))
    for name, milliseconds in taken.items():
        median = statistics.median(milliseconds)
        print(f"  {name:28} {median:8.3f} ms  {first / median:8.1f}x")


def draw_archive(path):
    with tarfile.open(path, "w:gz", compresslevel=1) as archive:
        for number in range(N_DRAWN):
            buffer = io.BytesIO()
            pixels = draw_frontal([MARKS["Mass"]], 1024, np.random.default_rng(number))
            Image.fromarray(pixels).save(buffer, "PNG")
            member = tarfile.TarInfo(f"images/{number:08}_000.png")
            member.size = buffer.tell()
            archive.addfile(member, io.BytesIO(buffer.getvalue()))
    return path


def prepare_plainly(archive, folder):
    with tarfile.open(archive) as members:
        members.extractall(folder, filter="data")
    return [load_plainly(file) for file in sorted(folder.rglob("*.png"))]


def load_plainly(file):
    return PLAIN(Image.open(file).convert("RGB"))


def prepare(archive, out):
    with image_writer(out, SIZE) as append:
        for _, content in read_archive(archive):
            append(to_square(read_grey(content), SIZE))


def augment_plainly(squares, drawn, folder):
    for number, (square, variants) in enumerate(zip(squares, drawn, strict=True)):
        image = Image.fromarray(square).convert("RGB")
        for place, variant in enumerate(variants):
            moved = functional.rotate(
                image, variant.rotation_degrees, functional.InterpolationMode.BILINEAR
            )
            moved = functional.affine(moved, 0, [variant.shift_x, variant.shift_y], 1, [0, 0])
            if variant.flipped:
                moved = functional.hflip(moved)
            moved.save(folder / f"{number}_{place}.png")


def augment(squares, drawn, out):
    with image_writer(out, SIZE) as append:
        for square, variants in zip(squares, drawn, strict=True):
            for moved in apply_variants(square, variants, 0):
                append(moved)


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--archive", type=Path, help="tar.gz of PNGs; default: drawn ones")
    arguments.add_argument("--repeats", type=int, default=5, help="default: 5")
    main(**vars(arguments.parse_args()))
