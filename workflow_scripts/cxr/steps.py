"""One step of training: forward pass, loss, backward pass, update."""

import os

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.devices import autocast
from cxr.logs import InputError


class Step:
    """SGD's step on a batch, of which the processes of a group take a share each.

    forward: from inputs to logits. Binary cross entropy on sigmoids, the mean over all outputs of
    the whole batch.
    """

    def __init__(self, forward, optimizer, device, precision="fp32", together=False):
        self.forward, self.optimizer = forward, optimizer
        self.device, self.precision, self.together = device, precision, together

    def __call__(self, inputs, labels, n):
        """Train on a share of a batch of n images; returns the batch's loss, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits = self.forward(inputs)
        loss = binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
        loss = loss / (n * labels.shape[1])
        loss.backward()
        loss = loss.detach()
        if self.together:
            loss = self._add_up(loss)
        self.optimizer.step()
        return loss

    def _add_up(self, loss):
        """Sum the gradients and the loss over all processes, in one message.

        Not DistributedDataParallel, which takes means of equal shares: the last batch of an epoch
        may give one process less, or nothing.
        """
        parameters = [
            parameter for group in self.optimizer.param_groups for parameter in group["params"]
        ]
        message = torch.cat([*(parameter.grad.flatten() for parameter in parameters), loss[None]])
        dist.all_reduce(message)
        *parts, loss = message.split([*(parameter.numel() for parameter in parameters), 1])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad.copy_(part.view_as(parameter))
        return loss[0]


class GraphedStep(Step):
    """The same step as a CUDA graph: one launch instead of thousands of kernels, the same bits.

    At batches of 9 and 16 images, launching DenseNets' kernels takes a GPU longer than running
    them. The first steps run one by one, as capture needs, and so does a batch of another size.
    Use it on a stream of its own (devices.side_stream).
    """

    WARM_UP = 3

    def __init__(self, *arguments, batch_size, **options):
        super().__init__(*arguments, **options)
        self.batch_size, self.graph, self.seen = batch_size, None, 0

    def __call__(self, inputs, labels, n):
        self.seen += 1
        if self.seen <= self.WARM_UP or n != self.batch_size:
            return super().__call__(inputs, labels, n)
        if self.graph is None:
            self._capture(inputs, labels, n)
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss

    def _capture(self, inputs, labels, n):
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
            self.loss = super().__call__(self.inputs, self.labels, n)


class Group:
    """The processes that train one net together; without torchrun, this one alone."""

    def __init__(self, device):
        self.together = dist.is_torchelastic_launched()
        if self.together:
            n_processes, n_gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
            if n_gpus and n_processes > n_gpus:
                raise InputError(f"{n_processes} processes train one net, on {n_gpus} GPUs only")
            backend = "nccl" if device.type == "cuda" else "gloo"
            dist.init_process_group(backend, device_id=device if device.type == "cuda" else None)
        self.rank = dist.get_rank() if self.together else 0
        self.size = dist.get_world_size() if self.together else 1

    def share(self, indices):
        """The part of indices that is this process's."""
        return indices[self.rank :: self.size]

    def gather(self, values):
        """Arrays of all processes, made of each one's share, in the order of the whole."""
        if not self.together:
            return values
        parts = [None] * self.size
        dist.all_gather_object(parts, values)
        whole = np.empty((sum(map(len, parts)), *values.shape[1:]), values.dtype)
        for rank, part in enumerate(parts):
            whole[rank :: self.size] = part
        return whole

    def from_first(self, value):
        """The first process's value, in all."""
        values = [value]
        if self.together:
            dist.broadcast_object_list(values, src=0)
        return values[0]
