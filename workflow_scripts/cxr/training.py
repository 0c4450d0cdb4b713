"""Training of one phase: binary cross entropy on sigmoids, SGD with momentum."""

import argparse
import time
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from torch import nn

from cxr.batches import CachedFeatures, Pixels, batches, network_input, to_device
from cxr.devices import PRECISIONS, autocast, side_stream
from cxr.logs import InputError, progress
from cxr.nets import freeze_all_but_output_layer, output_layer
from cxr.prediction import EVALUATION_BATCH, accuracy, mean_loss, predict
from cxr.resume import Stopped
from cxr.steps import GraphedStep, Step

CHECK_EVERY = 50  # batches between two looks at whether losses are finite: each waits for a GPU


def one_of(*choices):
    return field(metadata={"choices": choices})


@dataclass
class Settings:
    """What one phase is trained with."""

    trainable: str = one_of("output_layer", "all")
    frozen_batch_norm: str = one_of("eval", "train")  # mode of what is not trainable
    epochs: int
    learning_rate: float
    weight_decay: float
    patience: int  # epochs without a lower validation loss before stopping; 0: never stop early
    momentum: float
    batch_size: int
    flip: bool  # flip half of the training images, drawn anew each epoch
    seed: int
    precision: str = one_of(*PRECISIONS)
    cuda_graph: bool  # on a GPU: the same bits, faster

    @classmethod
    def add_arguments(cls, parser):
        """One option per setting, all required."""
        for setting in fields(cls):
            name = f"--{setting.name.replace('_', '-')}"
            if setting.type is bool:
                parser.add_argument(name, action=argparse.BooleanOptionalAction, default=False)
            else:
                parser.add_argument(
                    name, type=setting.type, required=True, choices=setting.metadata.get("choices")
                )


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

    train, val: LabelledImages. device: of take_device. Unless settings say otherwise, a frozen net
    (all but the output layer) stays in eval mode, so that batch norm keeps its statistics, and
    its features are computed once. report is called with the history so far after each epoch.
    resume: a ResumeFile in use, from which an interrupted training goes on to the same bits.
    """
    with side_stream(device):
        return _fit(net, train, val, settings, device, resume, report)


def _fit(net, train, val, settings, device, resume, report):
    net = net.to(device, memory_format=torch.channels_last)
    head = output_layer(net)
    train_mode = settings.trainable == "all" or settings.frozen_batch_norm == "train"
    if settings.trainable == "output_layer":
        freeze_all_but_output_layer(net)
    optimizer = torch.optim.SGD(
        [parameter for parameter in net.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    done, best_state, losses = Progress(), None, None
    if saved := resume and resume.load("cpu"):
        done, best_state = Progress(**saved["progress"]), saved["best"]
        losses = saved["losses"].to(device)
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

    if not train_mode and isinstance(head, nn.Linear):
        forward = head
        with autocast(device, settings.precision):
            train_inputs = CachedFeatures(net, train, device, settings.batch_size, settings.flip)
            val_inputs = CachedFeatures(net, val, device, EVALUATION_BATCH[device.type])
    else:
        train_inputs, val_inputs = Pixels(train, device), Pixels(val, device)

        def forward(pixels):
            return net(network_input(pixels))

    how = (forward, optimizer, device, settings.precision)
    if settings.cuda_graph and device.type == "cuda":
        step = GraphedStep(*how, batch_size=settings.batch_size)
    else:
        step = Step(*how)
    while done.epoch <= settings.epochs:
        if settings.patience and done.epoch - 1 - done.best_epoch >= settings.patience:
            break
        net.train(train_mode)
        torch_seed, order, flips = draw_epoch(len(train), settings, done.epoch)
        split = batches(order, settings.batch_size)
        if not done.batch:
            torch.manual_seed(torch_seed)
            losses = torch.zeros(len(split), device=device)
        started = time.perf_counter() - done.seconds
        for batch in epoch_progress(split, losses, done):
            labels = to_device(train.labels[batch], device)
            losses[done.batch] = step(train_inputs(batch, flips[batch]), labels)
            done.batch += 1
            if done.batch % CHECK_EVERY == 0 or done.batch == len(split):
                check_finite(losses, split, done, train)
            if resume and resume.is_due():
                check_finite(losses, split, done, train)
                done.seconds = time.perf_counter() - started
                save()
        seconds = time.perf_counter() - started
        net.eval()
        with autocast(device, settings.precision):
            logits = predict(forward, val_inputs, np.arange(len(val)), device)
        val_loss = mean_loss(logits, val.labels)
        sizes = np.array([len(batch) for batch in split])
        done.history.append(
            {
                "epoch": done.epoch,
                "train_loss": float((losses.cpu().double().numpy() * sizes).sum() / len(train)),
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
            best_state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
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
