"""Build a net before its first phase: starting weights, a new output layer, kept output neurons.

--start is a file of torchvision's ImageNet weights (.pth), a net of this workflow
(.safetensors), or absent for random weights. The output layer is new and random, except for the
neurons named by --keep, which keep their weights and bias (section 3.2 of the paper).
"""

from pathlib import Path

import torch
from cxr.cli import pair, parser, user_errors
from cxr.nets.torch_nets import create, keep_output_neurons, load_imagenet, load_net, save_net


def build_net(architecture, outputs, image_size, seed, out, start=None, keep=None):
    torch.manual_seed(seed)
    net = create(architecture, len(outputs))
    keep = keep or {}
    if start is not None:
        if start.suffix == ".safetensors":
            source, description = load_net(start)
            source_outputs = description["outputs"]
        else:
            source, source_outputs = load_imagenet(start, architecture), []
        keep_output_neurons(net, source, outputs, source_outputs, keep)
    description = {
        "architecture": architecture,
        "outputs": outputs,
        "image_size": image_size,
        "kept_output_neurons": keep,
    }
    save_net(out, net, description)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--architecture", required=True, help="a torchvision classifier")
    arguments.add_argument(
        "--outputs", nargs="+", required=True, help="names of the outputs, in order"
    )
    arguments.add_argument("--image-size", type=int, required=True, help="in pixels, recorded only")
    arguments.add_argument("--start", type=Path, help=".pth or .safetensors; default: random")
    arguments.add_argument(
        "--keep", type=pair(), nargs="*", default=[], metavar="OUTPUT=OLD OUTPUT"
    )
    arguments.add_argument("--seed", type=int, required=True, help="seed of the random weights")
    arguments.add_argument("--out", type=Path, required=True, help=".safetensors to write")
    settings = vars(arguments.parse_args())
    with user_errors():
        build_net(**settings | {"keep": dict(settings["keep"])})
