"""Training of one phase: binary cross entropy on sigmoids, SGD with momentum."""

import argparse
import time
from dataclasses import asdict, dataclass, field, fields

import numpy as np
import torch
from torch import nn

from cxr.cli import InputError, progress
from cxr.nets.devices import (
    PRECISIONS,
    autocast,
    device_name,
    random_state,
    restore_random_state,
    side_stream,
)
from cxr.nets.inputs import CachedFeatures, Pixels, batches, network_input, to_device
from cxr.nets.prediction import EVALUATION_BATCH, accuracy, mean_loss, predict
from cxr.nets.torch_nets import check_differentiable, freeze_all_but_output_layer, output_layer
from cxr.training.resume import Stopped
from cxr.training.sgd_step import SGD, GraphedStep, Step

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

    train, val: LabelledImages. device: of select_device. Unless settings say else, a frozen net
    (all but the output layer) stays in eval mode, so that batch norm keeps its statistics, and
    its features are computed once. report is called with the history so far after each epoch.
    resume: a ResumeFile in use, from which an interrupted training resumes to the same bits, on a
    device of the same kind. Raises InputError where a loss is no number, or the net can't be
    trained on the device.
    """
    with side_stream(device):
        training = Training(net, train, val, settings, device, resume)
        while training.continues():
            training.train_epoch()
            training.validate()
            report(training.done.history)
            training.end_epoch()
        return training.best_state, training.done.history


class Training:
    """A phase under way; its arguments are those of fit."""

    def __init__(self, net, train, val, settings, device, resume):
        self.train, self.val, self.settings = train, val, settings
        self.device, self.resume = device, resume
        self.net = net.to(device, memory_format=torch.channels_last)
        # Frozen layers in train mode would move batch norm's statistics.
        self.train_mode = settings.trainable == "all" or settings.frozen_batch_norm == "train"
        if settings.trainable == "output_layer":
            freeze_all_but_output_layer(net)
        else:
            check_differentiable(net, device)
        self.optimizer = SGD(
            [parameter for parameter in net.parameters() if parameter.requires_grad],
            lr=settings.learning_rate,
            momentum=settings.momentum,
            weight_decay=settings.weight_decay,
        )
        self.done, self.best_state, self.losses = Progress(), None, None
        if saved := resume and resume.load("cpu"):
            self._restore(saved)
        self.forward = self._prepare_inputs()
        self.step = new_step(self.forward, self.net, self.optimizer, settings, device)

    def _prepare_inputs(self):
        """Make train_inputs and val_inputs; returns the function from them to logits."""
        settings, device = self.settings, self.device
        head = output_layer(self.net)
        if self.train_mode or not isinstance(head, nn.Linear):
            self.train_inputs, self.val_inputs = (
                Pixels(images, device) for images in (self.train, self.val)
            )
            return lambda pixels: self.net(network_input(pixels))
        # What a frozen net in eval mode makes of an image is the same in every epoch.
        with autocast(device, settings.precision):
            self.train_inputs = CachedFeatures(
                self.net, self.train, device, settings.batch_size, settings.flip
            )
            self.val_inputs = CachedFeatures(
                self.net, self.val, device, EVALUATION_BATCH[device.type]
            )
        return head

    def continues(self):
        """Whether another epoch is due."""
        done, patience = self.done, self.settings.patience
        without_gain = done.epoch - 1 - done.best_epoch
        return done.epoch <= self.settings.epochs and not (patience and without_gain >= patience)

    def train_epoch(self):
        """Train on the batches of this epoch that are not done yet."""
        done = self.done
        self.net.train(self.train_mode)
        torch_seed, order, flips = draw_epoch(len(self.train), self.settings, done.epoch)
        split = batches(order, self.settings.batch_size)
        if not done.batch:
            # An epoch's randomness follows from its number, whatever ran before it.
            torch.manual_seed(torch_seed)
            self.losses = torch.zeros(len(split), device=self.device)
        started = time.perf_counter() - done.seconds
        for batch in epoch_progress(split, self.losses, done):
            labels = to_device(self.train.labels[batch], self.device)
            self.losses[done.batch] = self.step(self.train_inputs(batch, flips[batch]), labels)
            done.batch += 1
            save = self.resume and self.resume.is_due()
            if save or done.batch % CHECK_EVERY == 0 or done.batch == len(split):
                check_finite(self.losses, split, done, self.train)
            done.seconds = time.perf_counter() - started
            if save:
                self._save()
        self.sizes = np.array([len(batch) for batch in split])

    def validate(self):
        """Add the epoch's row to the history; keep the weights if none were better."""
        done = self.done
        self.net.eval()
        with autocast(self.device, self.settings.precision):
            indices = np.arange(len(self.val))
            logits = predict(self.forward, self.val_inputs, indices, self.device)
        val_loss = mean_loss(logits, self.val.labels)
        losses = self.losses.cpu().double().numpy()
        done.history.append(
            {
                "epoch": done.epoch,
                "train_loss": float((losses * self.sizes).sum() / len(self.train)),
                "val_loss": val_loss,
                "val_accuracy": accuracy(logits, self.val.labels),
                "learning_rate": self.settings.learning_rate,
                "seconds": round(done.seconds, 3),
                "images_per_second": round(len(self.train) / done.seconds, 2),
            }
        )
        if val_loss < done.best_loss:
            done.best_loss, done.best_epoch = val_loss, done.epoch
            self.best_state = {name: value.clone() for name, value in self.net.state_dict().items()}

    def end_epoch(self):
        """Go to the next epoch; save if that is due."""
        self.done.epoch, self.done.batch, self.done.seconds = self.done.epoch + 1, 0, 0.0
        if self.resume and self.resume.is_due():
            self._save()

    def _save(self):
        done, resume = self.done, self.resume
        resume.save(
            {
                "progress": asdict(done),
                "net": self.net.state_dict(),
                "best": self.best_state,
                "optimizer": self.optimizer.state_dict(),
                "losses": self.losses,
                "random": random_state(self.device),
                "device": device_name(self.device),
            }
        )
        if resume.told_to_stop:
            raise Stopped(
                f"{resume.path}: stopped by SIGTERM at epoch {done.epoch}, after batch "
                f"{done.batch}; started again, training resumes from there"
            )

    def _restore(self, saved):
        self.done, self.best_state = Progress(**saved["progress"]), saved["best"]
        self.losses = saved["losses"].to(self.device)
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(saved["optimizer"])
        restore_random_state(saved["random"], self.device)
        print(f"resumes at epoch {self.done.epoch}, batch {self.done.batch + 1}", flush=True)
        if saved["device"] != (name := device_name(self.device)):
            print(
                f"warning: begun on {saved['device']}, resumed on {name}: the result differs in "
                "its last bits from that of a training on one kind of device",
                flush=True,
            )


def new_step(forward, net, optimizer, settings, device):
    """The function that trains on a batch."""
    arguments = (forward, optimizer, device, settings.precision)
    if settings.cuda_graph and device.type == "cuda":
        return GraphedStep(*arguments, net=net, batch_size=settings.batch_size)
    return Step(*arguments)


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
