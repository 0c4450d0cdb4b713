"""One step of training: forward pass, loss, backward pass, update."""

from inspect import unwrap

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from cxr.nets.devices import autocast, is_memory_error, random_state, restore_random_state


class SGD(torch.optim.SGD):
    """PyTorch's SGD without what wraps its methods for torch.compile: that imports the compiler.

    The updates are the same; a training starts 2 s of CPU time earlier.
    """

    step = torch.no_grad()(unwrap(torch.optim.SGD.step))
    add_param_group = unwrap(torch.optim.SGD.add_param_group)
    zero_grad = unwrap(torch.optim.SGD.zero_grad)
    state_dict = unwrap(torch.optim.SGD.state_dict)
    load_state_dict = unwrap(torch.optim.SGD.load_state_dict)


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
    The graph's first step is compared with an eager one from the same state: where bits differ, or
    no graph can be captured, all steps are eager, and a line says so. net: whose parameters and
    buffers a step changes. Use it on a stream of its own (devices.side_stream).
    """

    WARM_UP = 3

    def __init__(self, *arguments, net, batch_size, **options):
        super().__init__(*arguments, **options)
        self.net, self.batch_size = net, batch_size
        self.eager_steps, self.graph, self.failed = 0, None, False

    def __call__(self, inputs, labels):
        if self.failed or self.eager_steps < self.WARM_UP or len(labels) != self.batch_size:
            self.eager_steps += 1
            return super().__call__(inputs, labels)
        if self.graph is None:
            return self._first_step(inputs, labels)
        return self._replay(inputs, labels)

    def _first_step(self, inputs, labels):
        """Step eagerly, then again by a new graph, which is kept if it gives the same bits."""
        before = self._state()
        loss = super().__call__(inputs, labels)
        eager = self._state()
        self._restore(before)
        try:
            self._capture(inputs, labels)
            graphed_loss = self._replay(inputs, labels)
            pairs = zip([loss, *eager], [graphed_loss, *self._state()], strict=True)
            differing = sum(not same_bits(one, other) for one, other in pairs)
            problem = f"gives other bits in {differing} tensors" if differing else None
        except RuntimeError as error:
            if is_memory_error(error):
                raise
            problem = "failed: " + str(error).partition("\n")[0]
        if problem is None:
            return graphed_loss
        print(f"warning: the CUDA graph {problem}; training continues eagerly", flush=True)
        self.graph, self.failed = None, True
        self._restore(eager)
        return loss

    def _capture(self, inputs, labels):
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, stream=torch.cuda.current_stream()):
            self.loss = super().__call__(self.inputs, self.labels)

    def _replay(self, inputs, labels):
        self.inputs.copy_(inputs)
        self.labels.copy_(labels)
        self.graph.replay()
        return self.loss

    @torch.no_grad()
    def _state(self):
        """Copies of all that a step changes: see _tensors; and the generators' states."""
        return [*(tensor.clone() for tensor in self._tensors()), *random_state(self.device)]

    @torch.no_grad()
    def _restore(self, state):
        tensors = self._tensors()
        for tensor, copy in zip(tensors, state, strict=False):
            tensor.copy_(copy)
        restore_random_state(state[len(tensors) :], self.device)

    def _tensors(self):
        """The net's parameters and buffers, and the optimizer's momentum."""
        values = (value for state in self.optimizer.state.values() for value in state.values())
        momentum = [value for value in values if isinstance(value, torch.Tensor)]
        return [*self.net.parameters(), *self.net.buffers(), *momentum]


def same_bits(one, other):
    """Whether two tensors are equal to the bit: NaN equals itself, 0 differs from -0."""
    return torch.equal(*(tensor.reshape(-1).view(torch.uint8) for tensor in (one, other)))
