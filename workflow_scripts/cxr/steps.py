"""One step of training: forward pass, loss, backward pass, update."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.devices import autocast


class Step:
    """SGD's step on a batch.

    forward: from inputs to logits. Binary cross entropy on sigmoids, the mean over all outputs and
    images.
    """

    def __init__(self, forward, optimizer, device, precision="fp32"):
        self.forward, self.optimizer = forward, optimizer
        self.device, self.precision = device, precision

    def __call__(self, inputs, labels):
        """Train on a batch, labels (n, outputs); returns its loss, on the device."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.device, self.precision):
            logits = self.forward(inputs)
        loss = binary_cross_entropy_with_logits(logits.float(), labels, reduction="sum")
        loss = loss / labels.numel()
        loss.backward()
        self.optimizer.step()
        return loss.detach()


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

    def __call__(self, inputs, labels):
        self.seen += 1
        if self.seen <= self.WARM_UP or len(labels) != self.batch_size:
            return super().__call__(inputs, labels)
        if self.graph is None:
            self._capture(inputs, labels)
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss

    def _capture(self, inputs, labels):
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
            self.loss = super().__call__(self.inputs, self.labels)
