"""What a stored net says about itself. Needs no PyTorch."""

import hashlib
import json
from pathlib import Path

from safetensors import safe_open

from cxr.files import write_whole
from cxr.logs import InputError


class NetError(InputError):
    """Weights or a description that do not fit the net they are meant for."""


def write_record(path, net_path, description, source):
    """Write the JSON beside a net that others start from: what it is, where from, its sha256."""
    digest = hashlib.sha256(Path(net_path).read_bytes()).hexdigest()
    record = description | {"source": source, "sha256": digest}
    write_whole(path, json.dumps(record, indent=2) + "\n")


def read_description(path):
    """The description stored with the weights at path. Raises NetError if there is none."""
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
    if "net" not in metadata:
        raise NetError(
            f"{path}: no description of the net in its metadata; not written by this workflow"
        )
    return json.loads(metadata["net"])
