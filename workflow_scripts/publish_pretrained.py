"""Publish a net trained on ChestX-ray14, for other nets to start from.

Writes the best weights of the last phase (OUT.safetensors), a JSON that describes them and records
that they were trained here, and the histories of all phases in one table.
"""

import shutil
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.files import atomic_write, write_table
from cxr.nets.descriptions import read_description, write_record
from cxr.tables import read_table


def publish_pretrained(checkpoint, histories, out, record, history):
    description = read_description(checkpoint)
    with atomic_write(out) as temporary:
        shutil.copyfile(checkpoint, temporary)
    source = "trained by this workflow on ChestX-ray14; not Zech's CheXNet checkpoint"
    write_record(record, out, description, source)
    tables = [
        read_table(path, ["epoch", "val_loss"]).assign(phase=n)
        for n, path in enumerate(histories, start=1)
    ]
    write_table(history, pd.concat(tables))


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--checkpoint", type=Path, required=True, help="checkpoint of the last phase"
    )
    arguments.add_argument(
        "--histories", type=Path, nargs="+", required=True, help="one per phase, in order"
    )
    arguments.add_argument("--out", type=Path, required=True, help=".safetensors to write")
    arguments.add_argument("--record", type=Path, required=True, help="model.json to write")
    arguments.add_argument("--history", type=Path, required=True, help="CSV to write")
    with user_errors():
        publish_pretrained(**vars(arguments.parse_args()))
