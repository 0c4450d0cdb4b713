"""Convert Zech's CheXNet checkpoint, a pickled module, to safetensors.

Writes the net and its record, model.json. The file is read with a restricted unpickler, which
allows only the classes of a DenseNet.
"""

from pathlib import Path

from cxr.cli import parser, user_errors
from cxr.nets import chexnet
from cxr.nets.descriptions import write_record
from cxr.nets.torch_nets import save_net


def load_chexnet(checkpoint, outputs, image_size, out, record):
    net = chexnet.load_chexnet(checkpoint, outputs)
    print(f"{checkpoint}: all {len(net.state_dict())} tensors of a densenet121, and no others")
    description = {"architecture": "densenet121", "outputs": outputs, "image_size": image_size}
    save_net(out, net, description)
    source = f"loaded from {checkpoint.name}, Zech's reproduction of CheXNet"
    write_record(record, out, description, source)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--checkpoint", type=Path, required=True)
    arguments.add_argument(
        "--outputs", nargs="+", required=True, help="names of the outputs, in order"
    )
    arguments.add_argument("--image-size", type=int, required=True, help="in pixels, recorded only")
    arguments.add_argument("--out", type=Path, required=True, help=".safetensors to write")
    arguments.add_argument("--record", type=Path, required=True, help="model.json to write")
    with user_errors():
        load_chexnet(**vars(arguments.parse_args()))
