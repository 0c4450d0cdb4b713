"""What a stored net says about itself. Needs no PyTorch."""

import json

from safetensors import SafetensorError, safe_open

from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.contents import refuse_other
from cxr.files import write_file


class NetError(InputError):
    """Weights or a description that do not fit the net they are meant for."""


def write_record(path, net_path, description, source):
    """Write the JSON beside a net that others start from: what it is, where from, its sha256."""
    record = description | {"source": source, "sha256": sha256_of(net_path)}
    write_file(path, json.dumps(record, indent=2) + "\n")


def read_description(path):
    """The description stored with the weights at path.

    Raises NetError if there is none, and InputError if the file is damaged or something else.
    """
    refuse_other(path, "a net as .safetensors")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except SafetensorError as error:
        raise NetError(
            f"{path}: found a cut or damaged file ({error}), expected a net as .safetensors; "
            "get it again, or delete it so that the workflow makes it"
        ) from error
    if "net" not in metadata:
        raise NetError(
            f"{path}: no description of the net in its metadata; not written by this workflow"
        )
    return parse_description(path, metadata["net"])


def parse_description(path, text):
    """A net's description from its JSON. Raises NetError unless it says what every net's does."""
    kinds = {"architecture": str, "outputs": list, "image_size": int}
    try:
        description = json.loads(text)
        wrong = [key for key, kind in kinds.items() if not isinstance(description[key], kind)]
    except (ValueError, KeyError, TypeError) as error:
        wrong = [str(error)]
    if wrong or not all(isinstance(name, str) for name in description["outputs"]):
        raise NetError(f"{path}: damaged description of the net: {(wrong or ['outputs'])[0]}")
    return description
