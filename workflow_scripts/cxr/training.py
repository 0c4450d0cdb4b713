"""Training of one phase: binary cross entropy on sigmoids, SGD with momentum."""

import argparse
import copy
import time
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.logs import InputError, progress
from cxr.nets import freeze_all_but_output_layer, normalise, output_layer
from cxr.resume import Stopped

EVALUATION_BATCH = 32  # images; results of frozen batch norm don't depend on it
CHECK_EVERY = 50  # batches between two looks at whether losses are finite: each waits for a GPU


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
        for setting in fields(cls):
            if setting.type is bool:
                action = argparse.BooleanOptionalAction
                parser.add_argument(f"--{setting.name}", action=action, default=False)
            else:
                name = f"--{setting.name.replace('_', '-')}"
                choices = ("output_layer", "all") if setting.name == "trainable" else None
                parser.add_argument(name, type=setting.type, required=True, choices=choices)


@dataclass
class Progress:
    """How far a phase has come, and what it has seen."""

    epoch: int = 1
    batch: int = 0  # batches of the epoch that are done
    seconds: float = 0.0  # of the epoch, spent on them
    best_loss: float = float("inf")
    best_epoch: int = 0
    history: list = field(default_factory=list)


def fit(net, train, val, settings, device, resume=None, report=lambda history: None):
    """Train net; returns (state dict of the epoch with the lowest validation loss, history rows).

    train, val: LabelledImages. A frozen net (all but the output layer) stays in eval mode, so
    that batch norm keeps its statistics. report is called with the history so far after each epoch.
    resume: a ResumeFile in use, from which an interrupted training goes on to the same bits.
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
    done, best_state, losses = Progress(), None, None
    if resume and (saved := resume.load(device)):
        done, best_state, losses = Progress(**saved["progress"]), saved["best"], saved["losses"]
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        restore_random_state(saved["random"])
        print(f"goes on at epoch {done.epoch}, batch {done.batch + 1}", flush=True)

    def save():
        resume.save(
            {
                "progress": asdict(done),
                "net": net.state_dict(),
                "best": best_state,
                "optimizer": optimizer.state_dict(),
                "losses": losses,
                "random": random_state(),
            }
        )
        if resume.told_to_stop:
            raise Stopped(
                f"{resume.path}: stopped by SIGTERM at epoch {done.epoch}, after batch "
                f"{done.batch}; started again, training goes on from there"
            )

    if frozen and isinstance(output_layer(net), nn.Linear):
        layer = output_layer(net)
        train_inputs = CachedFeatures(net, train, device, settings.batch_size, settings.flip)
        val_inputs = CachedFeatures(net, val, device, EVALUATION_BATCH)
    else:
        layer, train_inputs, val_inputs = net, Pixels(train, device), Pixels(val, device)
    while done.epoch <= settings.epochs:
        if settings.patience and done.epoch - 1 - done.best_epoch >= settings.patience:
            break
        layer.train(not frozen)
        torch_seed, order, flips = draw_epoch(len(train), settings, done.epoch)
        split = batches(order, settings.batch_size)
        if not done.batch:
            torch.manual_seed(torch_seed)
            losses = torch.zeros(len(split), dtype=torch.float64, device=device)
        started = time.perf_counter() - done.seconds
        for batch in epoch_progress(split, losses, done):
            inputs = train_inputs(batch, flips[batch])
            labels = torch.from_numpy(train.labels[batch]).to(device)
            loss = binary_cross_entropy_with_logits(layer(inputs), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            losses[done.batch] = loss.detach()
            done.batch += 1
            if done.batch % CHECK_EVERY == 0 or done.batch == len(split):
                check_finite(losses, split, done, train)
            if resume and resume.is_due():
                check_finite(losses, split, done, train)
                done.seconds = time.perf_counter() - started
                save()
        seconds = time.perf_counter() - started
        sizes = np.array([len(batch) for batch in split])
        logits = predict(layer, val_inputs, len(val))
        val_loss = mean_loss(logits, val.labels)
        done.history.append(
            {
                "epoch": done.epoch,
                "train_loss": float((losses.cpu().numpy() * sizes).sum() / len(train)),
                "val_loss": val_loss,
                "val_accuracy": accuracy(logits, val.labels),
                "learning_rate": settings.learning_rate,
                "seconds": round(seconds, 3),
                "images_per_second": round(len(train) / seconds, 2),
            }
        )
        report(done.history)
        if val_loss < done.best_loss:
            done.best_loss, done.best_epoch = val_loss, done.epoch
            best_state = copy.deepcopy(net.state_dict())
        done.epoch, done.batch, done.seconds = done.epoch + 1, 0, 0.0
        if resume and resume.is_due():
            save()
    return best_state, done.history


def draw_epoch(n, settings, epoch):
    """What is random in an epoch: PyTorch's seed, the order of n images, which are flipped.

    It follows from (seed, epoch) alone, not from what was run before.
    """
    rng = np.random.default_rng([settings.seed, epoch])
    torch_seed, order = int(rng.integers(2**63)), rng.permutation(n)
    flips = rng.random(n) < 0.5 if settings.flip else np.zeros(n, bool)
    return torch_seed, order, flips


def epoch_progress(split, losses, done):
    """The batches of an epoch that are not done yet, with a progress bar on a terminal."""
    bar = progress(split[done.batch :], f"epoch {done.epoch}")
    for batch in bar:
        yield batch
        if not bar.disable and done.batch % 10 == 0:
            bar.set_postfix(loss=f"{losses[: done.batch].mean().item():.4f}", refresh=False)


def check_finite(losses, split, done, train):
    """Raise InputError, naming the images, if the loss of a batch of this epoch is no number."""
    finite = torch.isfinite(losses[: done.batch])
    if not finite.all():
        number = int((~finite).nonzero()[0, 0])
        images = ", ".join(train.images.iloc[split[number]])
        loss = losses[number].item()
        raise InputError(f"loss is {loss} at epoch {done.epoch} for the images {images}")


def random_state():
    """State of PyTorch's generators, on the host."""
    return {
        "cpu": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state):
    torch.set_rng_state(state["cpu"].cpu())
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"].cpu())


class Pixels:
    """Images as a net's inputs: float32 (n, 3, h, w), normalised on the device."""

    def __init__(self, images, device):
        self.images, self.device = images, device

    def __call__(self, indices, flipped=None):
        pixels = torch.from_numpy(self.images.pixels(indices))
        if flipped is not None:
            flipped = torch.from_numpy(flipped)
            pixels[flipped] = pixels[flipped].flip(-1)
        return network_input(pixels, self.device)


class CachedFeatures:
    """Images as inputs of a frozen net's output layer, float32 (n, features), computed once.

    With flip, the features of the mirrored images are kept, too.
    """

    @torch.no_grad()
    def __init__(self, net, images, device, batch_size, flip=False):
        net.eval()
        found = []
        hook = output_layer(net).register_forward_pre_hook(
            lambda _layer, inputs: found.append(inputs[0])
        )
        pixels = Pixels(images, device)
        self.features = []
        for mirrored in (False, True) if flip else (False,):
            found.clear()
            for batch in progress(batches(np.arange(len(images)), batch_size), "features"):
                net(pixels(batch, np.full(len(batch), mirrored)))
            self.features.append(torch.cat(found))
        hook.remove()

    def __call__(self, indices, flipped=None):
        indices = torch.from_numpy(indices).to(self.features[0].device)
        features = self.features[0][indices]
        if flipped is not None and flipped.any():
            flipped = torch.from_numpy(flipped).to(features.device)
            features[flipped] = self.features[1][indices[flipped]]
        return features


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


def predict_logits(net, images, device, batch_size=EVALUATION_BATCH):
    """Logits, float32 (n, outputs), of all images in order; net is put into eval mode."""
    return predict(net, Pixels(images, device), len(images), batch_size)


@torch.no_grad()
def predict(layer, inputs, n, batch_size=EVALUATION_BATCH):
    """Logits, float32 (n, outputs), of n inputs in order; layer is put into eval mode."""
    layer.eval()
    split = np.split(np.arange(n), range(batch_size, n, batch_size))
    return torch.cat([layer(inputs(batch)).cpu() for batch in split]).numpy()


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
