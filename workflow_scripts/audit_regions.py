"""Audit: what nets still decide rightly when the lungs, or all but the lungs, are blacked out.

Once as they were trained, and once with a new output layer, trained on train images with the same
part blacked out (a logistic regression of the features below it). Where the lungs are, --lungs says
(a net, or drawn masks); without it they are approximated by a central ellipse, not segmented. A net
that reads lungs falls to chance without them; if a new output layer predicts the class without
lungs, something else in the image shows it. That may be the outline of what is black, which the
audit nuisance tries by itself.
"""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from cxr.cli import pair, parser, progress, user_errors
from cxr.data.image_sets import add_image_set, open_by_class, open_images
from cxr.data.lungs import Lungs, add_lungs
from cxr.evaluation.audits import add_outputs, plot_intervals, save_audit
from cxr.evaluation.intervals import share_interval
from cxr.evaluation.linear import linear_model
from cxr.evaluation.predictions import image_groups
from cxr.nets.devices import select_device
from cxr.nets.prediction import predict_logits
from cxr.nets.torch_nets import load_net, output_layer

COLUMNS = [
    "net",
    "region",
    "output_layer",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "n",
    "lungs",
]


def audit_regions(nets, train, images, seed, out, lungs=None):
    device, lungs = select_device(), Lungs(lungs)
    groups, rows = image_groups(open_images(images)[1]), []
    for name, path in progress(nets.items(), "nets"):
        net, description = load_net(path)
        outputs = description["outputs"]
        learnt = open_by_class(train, outputs)
        tried = open_by_class(images, outputs)
        rows += [
            (name, *row) for row in accuracies(net, learnt, tried, lungs, groups, seed, device)
        ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    guess = float(tried.labels.mean(axis=0).max()) if len(tried) else np.nan
    save_audit(out, table, describe(table, guess), "report")
    plot_intervals(
        out.figure,
        table.net + ", " + table.region + ", " + table.output_layer,
        table.accuracy,
        table.accuracy_low, table.accuracy_high, "accuracy on the test images",
        (guess, "most frequent class"),
    )  # fmt: skip


def accuracies(net, learnt, tried, lungs, groups, seed, device):
    """Rows of COLUMNS but the net's name; without the new output layer if it can't be trained."""
    if not len(tried):
        return
    true, classes = tried.labels.argmax(axis=1), learnt.labels.argmax(axis=1)
    for region in ("all", "without lungs", "lungs alone"):
        logits, features = predicted(net, masked(tried, lungs, region), device)
        decisions = {"as trained": logits.argmax(axis=1)}
        if len(set(classes)) > 1:
            _, learnt_features = predicted(net, masked(learnt, lungs, region), device)
            model = linear_model(seed).fit(learnt_features, classes)
            decisions["trained anew"] = model.predict(features)
        for layer, decided in decisions.items():
            right = decided == true
            bounds = share_interval(right, groups)
            yield region, layer, right.mean(), *bounds, len(true), lungs.describe(tried.images)


def describe(table, guess):
    """Result. guess: share of the test images' most frequent class."""
    if table.empty:
        return "there is no test image, so that what nets decide without the lungs can't be said"
    means = table.groupby(["output_layer", "region"]).accuracy.mean()
    as_trained = means["as trained"]
    result = (
        f"mean accuracy of the nets ({table.net.nunique()}) on {table.n.max()} test images "
        f"{as_trained['all']:.0%} ({guess:.0%} are of one class); with the lungs "
        f"({table.lungs.iloc[0]}) blacked out {as_trained['without lungs']:.0%}; with all else "
        f"blacked out {as_trained['lungs alone']:.0%}. "
    )
    if "trained anew" not in means:
        return result + "A new output layer can't be trained: train images are of one class"
    anew = means["trained anew"]
    return result + (
        f"With a new output layer, trained on such images, {anew['without lungs']:.0%} and "
        f"{anew['lungs alone']:.0%}"
    )


def masked(data, lungs, region):
    """The images with all pixels black but those of a region."""
    if region == "all":
        return data
    inside = lungs.of(data.images, data.shape[0])
    kept = inside if region == "lungs alone" else ~inside
    return data.with_pixels(np.where(kept, data.pixels(np.arange(len(data))), np.uint8(0)))


def predicted(net, data, device):
    """Logits, (n, outputs), and what the output layer is given for each image, (n, features)."""
    given = []
    hook = output_layer(net).register_forward_pre_hook(
        lambda _layer, inputs: given.append(inputs[0].cpu())
    )
    logits = predict_logits(net, data, device)
    hook.remove()
    features = torch.cat(given)
    return logits, (features.flatten(2).mean(dim=2) if features.ndim == 4 else features).numpy()


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--nets", type=pair(Path), nargs="+", required=True, metavar="NET=SAFETENSORS"
    )
    add_image_set(arguments, "--train", "train images, no variants")
    add_image_set(arguments, "--images", "test images")
    arguments.add_argument("--seed", type=int, required=True)
    add_lungs(arguments)
    add_outputs(arguments)
    chosen = vars(arguments.parse_args())
    with user_errors():
        audit_regions(**chosen | {"nets": dict(chosen["nets"])})
