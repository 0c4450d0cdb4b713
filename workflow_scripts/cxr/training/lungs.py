"""Training of a net that finds lungs, on few images: strongly varied, by cross-validation."""

import math

import cv2
import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.nets.lung_nets import create, network_input


def fit(pixels, masks, encoder, image_size, steps, batch_size, learning_rate, seed, device):
    """A net that finds lungs, trained on images, uint8 (n, s, s), and masks, bool alike.

    AdamW, with a learning rate that rises for a tenth of the steps and falls by a cosine to zero,
    on the sum of binary cross entropy and 1 - soft Dice. Equal arguments give equal weights on
    equal devices. pixels and masks may have any size.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = create(encoder).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=learning_rate, weight_decay=1e-3)
    warmup = max(1, steps // 10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps)),
    )
    for batch in drawn_batches(len(pixels), batch_size, steps, rng):
        varied = [vary(pixels[place], masks[place], image_size, rng) for place in batch]
        images, truth = (np.stack(part) for part in zip(*varied, strict=True))
        truth = torch.from_numpy(truth).to(device).unsqueeze(1).float()
        loss = dice_loss(net(network_input(images, device)), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
    return net.eval()


def drawn_batches(n, batch_size, steps, rng):
    """Yield that many batches of places among n images; each image comes equally often."""
    places = np.concatenate([rng.permutation(n) for _ in range(-(-steps * batch_size // n))])
    return places[: steps * batch_size].reshape(steps, batch_size)


def dice_loss(logits, truth):
    """Binary cross entropy plus 1 - soft Dice of each image (Milletari et al. 2016)."""
    chances = logits.sigmoid()
    both, either = (chances * truth).sum((1, 2, 3)), (chances + truth).sum((1, 2, 3))
    dice = (2 * both + 1) / (either + 1)
    return binary_cross_entropy_with_logits(logits, truth) + (1 - dice).mean()


def vary(image, mask, size, rng):
    """An image, uint8 (s, s), and its mask, bool alike, changed by chance, (size, size).

    Mirrored, turned, scaled, moved: bodies of children are small in the picture, and tables and
    arms are in it. Grey values: contrast, inverted, blurred, noisy; framed, as by collimation;
    covered in places, as by words and by opacities.
    """
    warp, border = draw_warp(len(image), size, rng)
    shown = cv2.warpAffine(
        image, warp, (size, size), flags=cv2.INTER_LINEAR, borderMode=border,
        borderValue=float(rng.integers(256)),
    )  # fmt: skip
    inside = cv2.warpAffine(mask.astype(np.float32), warp, (size, size), flags=cv2.INTER_LINEAR)
    shown = expose(cover(shown.astype(np.float32) / 255, rng), rng)
    return np.rint(255 * np.clip(shown, 0, 1)).astype(np.uint8), inside >= 0.5


def draw_warp(stored, size, rng):
    """An affine map from a stored image to a picture of size pixels, and what is around it."""
    angle, scale = np.radians(rng.uniform(-15, 15)), np.exp(rng.uniform(-0.6, 0.3))
    stretch, mirrored = np.exp(rng.uniform(-0.15, 0.15)), rng.choice([-1, 1])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = size / stored * scale * turn @ np.diag([mirrored * stretch, 1 / stretch])
    centre = size * (0.5 + rng.uniform(-0.12, 0.12, 2))
    shift = centre - matrix @ np.full(2, stored / 2)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.7 else cv2.BORDER_REPLICATE
    return np.column_stack([matrix, shift]), border


def cover(picture, rng):
    """A picture, float32 (s, s) of 0 to 1, with a frame, opacities and bars by chance."""
    size = len(picture)
    if rng.random() < 0.3:
        sides = rng.integers(0, size // 8, 4)
        framed = np.full_like(picture, rng.choice([0.0, rng.random(), 1.0]))
        part = slice(sides[0], size - sides[1]), slice(sides[2], size - sides[3])
        framed[part] = picture[part]
        picture = framed
    if rng.random() < 0.4:  # opacities, and what is over- and underexposed
        y, x = np.indices(picture.shape) / size
        for _ in range(rng.integers(1, 4)):
            across, down = rng.uniform(0.1, 0.9, 2)
            wide, high = rng.uniform(0.04, 0.25, 2)
            cloud = np.exp(-(((x - across) / wide) ** 2) - ((y - down) / high) ** 2)
            picture = picture + (rng.uniform(0.2, 1) - picture) * (rng.uniform(0, 0.8) * cloud)
    if rng.random() < 0.3:  # words, leads
        for _ in range(rng.integers(1, 4)):
            top, left = rng.integers(0, size, 2)
            high, wide = rng.integers(1, size // 8, 2)
            picture[top : top + high, left : left + wide] = rng.random()
    return picture.astype(np.float32)


def expose(picture, rng):
    """A picture, float32 (s, s) of 0 to 1, with other contrast, blur and noise by chance."""
    if rng.random() < 0.1:
        picture = 1 - picture
    low, high = np.sort(rng.uniform(0, 1, 2))
    low, high = 0.4 * low, 1 - 0.4 * (1 - high)
    picture = low + (high - low) * np.clip(picture, 0, 1) ** np.exp(rng.uniform(-0.7, 0.7))
    if rng.random() < 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.4, 1.2))
    return picture + rng.uniform(0, 0.04) * rng.standard_normal(picture.shape, dtype=np.float32)
