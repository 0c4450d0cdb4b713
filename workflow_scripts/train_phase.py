"""Train one phase of one net and keep the weights of the epoch with the lowest validation loss.

COVID-19 nets: --train and --val are image sets (.npy) whose tables have a column `class`.
ChestX-ray14: --images are the archives' arrays, and --split is the table that assigns their
images to train and val, with a column per finding.

A training that was killed resumes when started again with the same arguments, from a file .resume
beside the checkpoint; the result is bit-identical. The file then holds the result until record.py
has written the job's sidecar. After a change of settings, data or code, training starts from the
beginning. The history grows with every epoch.
"""

import os
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_by_split
from cxr.files import write_table
from cxr.nets.devices import memory_errors, select_device
from cxr.nets.torch_nets import load_net, save_net
from cxr.training.loop import Settings, fit
from cxr.training.resume import ResumeFile, code_hash, hash_of


def train_phase(
    open_train, open_val, start, settings, checkpoint, history, save_every, tensorboard=None
):
    """open_train, open_val: functions from the net's outputs to LabelledImages."""
    net, description = load_net(start)
    train, val = open_train(description["outputs"]), open_val(description["outputs"])
    device = select_device(settings.precision)
    what = f"{checkpoint}: {settings.batch_size} images of {train.shape[0]} pixels a batch"
    events = tensorboard and new_events(tensorboard / "_".join(checkpoint.parts[-3:-1]))

    def report(rows):
        write_table(history, pd.DataFrame(rows))
        print_epoch(rows[-1])
        for name in ("train_loss", "val_loss", "val_accuracy") if events else ():
            events.add_scalar(name, rows[-1][name], rows[-1]["epoch"])

    key = hash_of(code_hash(), repr(settings), start, *train.content(), *val.content())
    with ResumeFile(checkpoint.with_name(".resume"), key, save_every) as resume:
        if result := resume.result():
            print(f"{resume.path}: training had ended; its result is written again", flush=True)
            best_state, rows = result
        else:
            with memory_errors(what):
                best_state, rows = fit(net, train, val, settings, device, resume, report)
            resume.save_result((best_state, rows))
        net.load_state_dict(best_state)
        save_net(checkpoint, net, description)
        write_table(history, pd.DataFrame(rows))


def new_events(folder):
    from tensorboardX import SummaryWriter  # for those who ask for it

    return SummaryWriter(str(folder), flush_secs=10)


def print_epoch(row):
    print(
        f"epoch {row['epoch']}: train loss {row['train_loss']:.4f}, "
        f"val loss {row['val_loss']:.4f}, val accuracy {row['val_accuracy']:.3f}, "
        f"{row['images_per_second']:.1f} images/s",
        flush=True,
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--start", type=Path, required=True, help="net to start from")
    add_image_set(arguments, "--train", "augmented training images", required=False)
    add_image_set(arguments, "--val", "augmented validation images", required=False)
    arguments.add_argument("--images", type=Path, nargs="+", help="ChestX-ray14's arrays (.npy)")
    arguments.add_argument("--tables", type=Path, nargs="+", help="their CSVs")
    arguments.add_argument("--split", type=Path, help="ChestX-ray14's split.csv")
    arguments.add_argument("--checkpoint", type=Path, required=True, help="checkpoint to write")
    arguments.add_argument("--history", type=Path, required=True, help="CSV to write")
    arguments.add_argument(
        "--save-every", type=float, default=300, help="seconds between two writes of .resume"
    )
    arguments.add_argument(
        "--tensorboard",
        type=Path,
        default=os.environ.get("TENSORBOARD"),
        metavar="FOLDER",
        help="also write the history there, as TensorBoard events; default: $TENSORBOARD",
    )
    Settings.add_arguments(arguments)
    chosen = vars(arguments.parse_args())
    train, val, images, tables, split = (
        chosen.pop(name) for name in ("train", "val", "images", "tables", "split")
    )
    others = {
        name: chosen.pop(name)
        for name in ("start", "checkpoint", "history", "save_every", "tensorboard")
    }
    if (
        (train is None) != (val is None)
        or (images is None) != (split is None)
        or not (train or split)
    ):
        arguments.error("give --train and --val, or --images and --split")
    if train:
        data = [lambda outputs, path=path: open_by_class(path, outputs) for path in (train, val)]
    else:
        data = [
            lambda outputs, name=name: open_by_split(images, split, name, outputs, tables)
            for name in ("train", "val")
        ]
    with user_errors():
        train_phase(*data, settings=Settings(**chosen), **others)
