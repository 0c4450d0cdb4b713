"""What rules of heatmaps take inputs and options from, in the order of their files."""

# explain, test_set


def pytorch_methods():
    """Those methods of the configuration that PyTorch has."""
    methods = [name for name in config["heatmaps"]["methods"] if name in METHODS]
    if not set(methods) & set(IN_INNVESTIGATE):
        raise config_error(
            "heatmaps.methods",
            f"expected {' or '.join(IN_INNVESTIGATE)} among them: others can't be checked by two "
            "implementations",
        )
    return methods


def innvestigate_methods():
    """Those that iNNvestigate has: two that PyTorch has, too, and presets that it alone has."""
    methods = config["heatmaps"]["methods"]
    return [name for name in methods if name in IN_INNVESTIGATE or name not in METHODS]


# localisation


def box_list(wildcards):
    """NIH's list of boxes: the first source of its kind."""
    if not config["sources"]["boxes"]:
        raise config_error(
            "sources.boxes",
            "empty; expected NIH's list of boxes, BBox_List_2017.csv, to compare heatmaps with",
        )
    return f"results/downloads/boxes/{config['sources']['boxes'][0]['name']}"


def mask_folder(wildcards):
    """The folder of masks of COVID-19 images."""
    path = config["covid19"]["masks"]
    if not path:
        raise config_error(
            "covid19.masks",
            "empty; expected a folder of masks, PNGs by the names of the images, to compare "
            "heatmaps with",
        )
    return ancient(path) if is_phantom(path) else path


def mask_sums(wildcards):
    """The sum of a folder of phantoms' masks, whose age means nothing."""
    path = config["covid19"]["masks"]
    return sums_of([path]) if path and is_phantom(path) else []


def localisations():
    """Tables and figures of how well heatmaps localise, where there are boxes, or masks."""
    nets = {
        **dict.fromkeys(config["nets"] if config["covid19"]["masks"] else [], ""),
        **dict.fromkeys(
            config["pretrained"] if config["sources"]["boxes"] else [], "pretrained/"
        ),
    }
    return [
        f"results/{folder}{net}/localisation.csv" for net, folder in nets.items()
    ] + [f"results/figures/localisation_{net}.svg" for net in nets]


# shortcut


def shortcut_audit(wildcards):
    """The files that an audit of a net with a planted shortcut is given, as in AUDITS."""
    net, data = wildcards.net, f"results/data/{wildcards.net}"
    images = {
        name: [f"{data}/{name}.npy", f"{data}/{name}.csv"]
        for name in ("train", "val", "test_unedited", "test_edited")
    }
    return {
        "text": {
            "text_boxes": f"{data}/text_boxes.csv",
            "predictions": {Path(net).name: f"results/{net}/predictions.csv"},
        },
        "nuisance": {
            "manifest": f"{data}/manifest.csv",
            "train": images["train"],
            "val": images["val"],
            "test": images["test_unedited"],
        },
        "regions": {
            "nets": {Path(net).name: phase_files(net, "checkpoint.safetensors")[-1]},
            "train": images["train"],
            "images": images["test_edited"],
        },
    }[wildcards.audit]
