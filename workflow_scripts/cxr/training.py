"""Training of one phase: binary cross entropy on sigmoids, SGD with momentum."""

import argparse
import copy
import time
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.logs import InputError
from cxr.nets import freeze_all_but_output_layer, normalise

EVALUATION_BATCH = 32  # images; results of frozen batch norm don't depend on it


@dataclass
class Settings:
    """What one phase is trained with."""

    trainable: str  # output_layer or all
    epochs: int
    learning_rate: float
    weight_decay: float
    patience: int  # epochs without a lower validation loss before stopping; 0: never stop early
    momentum: float
    batch_size: int
    flip: bool  # flip half of the training images, drawn anew each epoch
    seed: int

    @classmethod
    def add_arguments(cls, parser):
        """One option per setting, all required."""
        for field in fields(cls):
            if field.type is bool:
                action = argparse.BooleanOptionalAction
                parser.add_argument(f"--{field.name}", action=action, default=False)
            else:
                name = f"--{field.name.replace('_', '-')}"
                choices = ("output_layer", "all") if field.name == "trainable" else None
                parser.add_argument(name, type=field.type, required=True, choices=choices)


def fit(net, train, val, settings, device, report=lambda row: None):
    """Train net; returns (state dict of the epoch with the lowest validation loss, history rows).

    train, val: LabelledImages. A frozen net (all but the output layer) stays in eval mode, so
    that batch norm keeps its statistics. report is called with each epoch's row of history.
    """
    torch.use_deterministic_algorithms(True)
    net = net.to(device, memory_format=torch.channels_last)
    frozen = settings.trainable == "output_layer"
    if frozen:
        freeze_all_but_output_layer(net)
    optimizer = torch.optim.SGD(
        [parameter for parameter in net.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    best_loss, best_epoch, best_state, history = float("inf"), 0, None, []
    for epoch in range(1, settings.epochs + 1):
        start = time.perf_counter()
        net.train(not frozen)
        train_loss = train_one_epoch(net, train, optimizer, settings, epoch, device)
        seconds = time.perf_counter() - start
        logits = predict_logits(net, val, device)
        val_loss = mean_loss(logits, val.labels)
        history.append(
            {
                "epoch": epoch,
                "train_loss": train_loss,
                "val_loss": val_loss,
                "val_accuracy": accuracy(logits, val.labels),
                "learning_rate": settings.learning_rate,
                "seconds": round(seconds, 3),
                "images_per_second": round(len(train) / seconds, 2),
            }
        )
        report(history[-1])
        if val_loss < best_loss:
            best_loss, best_epoch = val_loss, epoch
            best_state = copy.deepcopy(net.state_dict())
        if settings.patience and epoch - best_epoch >= settings.patience:
            break
    return best_state, history


def train_one_epoch(net, train, optimizer, settings, epoch, device):
    """One pass over the training images in random order; mean loss of the images."""
    # Order, flips and dropout of an epoch follow from (seed, epoch), not from what was run before.
    rng = np.random.default_rng([settings.seed, epoch])
    torch.manual_seed(int(rng.integers(2**63)))
    order = rng.permutation(len(train))
    flips = rng.random(len(train)) < 0.5 if settings.flip else np.zeros(len(train), bool)
    total = 0.0
    for batch in batches(order, settings.batch_size):
        pixels = torch.from_numpy(train.pixels(batch))
        flipped = torch.from_numpy(flips[batch])
        pixels[flipped] = pixels[flipped].flip(-1)
        inputs = network_input(pixels, device)
        labels = torch.from_numpy(train.labels[batch]).to(device)
        loss = binary_cross_entropy_with_logits(net(inputs), labels)
        if not torch.isfinite(loss):
            images = ", ".join(train.images.iloc[batch])
            raise InputError(f"loss is {loss.item()} at epoch {epoch} for the images {images}")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)
    return total / len(train)


def batches(indices, size):
    """Cut indices into runs of at most size; a last run of one joins the one before it.

    Batch norm has no statistics of a single value: a batch of one fails on 1 x 1 feature maps.
    """
    cuts = list(range(size, len(indices), size))
    if cuts and len(indices) - cuts[-1] == 1:
        cuts.pop()
    return np.split(indices, cuts)


def network_input(pixels, device):
    """uint8 (n, h, w) on the host -> normalised float32 (n, 3, h, w) on the device."""
    return normalise(pixels.to(device)).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def predict_logits(net, images, device, batch_size=EVALUATION_BATCH):
    """Logits, float32 (n, outputs), of all images in order; net is put into eval mode."""
    net.eval()
    logits = [
        net(network_input(torch.from_numpy(images.pixels(batch)), device)).cpu()
        for batch in np.split(np.arange(len(images)), range(batch_size, len(images), batch_size))
    ]
    return torch.cat(logits).numpy()


def mean_loss(logits, labels):
    """Mean binary cross entropy of logits and 0/1 labels, both (n, outputs)."""
    return binary_cross_entropy_with_logits(
        torch.from_numpy(logits).double(), torch.from_numpy(labels).double()
    ).item()


def accuracy(logits, labels):
    """Share of right decisions: argmax where each image has one label, else label by label."""
    if (labels.sum(axis=1) == 1).all():
        return float((logits.argmax(axis=1) == labels.argmax(axis=1)).mean())
    return float(((logits > 0) == (labels > 0)).mean())


def best_device():
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
