"""What rules take inputs and options from, in the order of their files."""

# download


def is_folder(path):
    """Whether a local source is a folder of images rather than a file."""
    return not Path(path).suffix


def phantoms(settings):
    """Files that the configuration expects of draw_phantoms; none in the real study."""
    local = [
        source.get("local")
        for sources in settings["sources"].values()
        for source in sources
    ]
    lists = [
        settings["covid19"][key] for key in ("lateral_views", "text_boxes", "masks")
    ]
    return [path for path in [*local, *lists] if path and is_phantom(path)]


def source_of(dataset, name):
    return next(
        source for source in config["sources"][dataset] if source["name"] == name
    )


def names_of_sources(local):
    """Names of the sources that are local, or are not; the COVID-19 database is apart."""
    return [
        source["name"]
        for dataset, sources in config["sources"].items()
        for source in sources
        if dataset != "covid19" and ("local" in source) == local
    ]


def local_covid19():
    """Local path of the COVID-19 database, if it has one; the age of a folder means nothing."""
    return [
        source["local"] for source in config["sources"]["covid19"] if "local" in source
    ]


def source_options(wildcards):
    """Where a source comes from and its sums, as options of download.py."""
    source = source_of(wildcards.dataset, wildcards.source)
    return options({key: value for key, value in source.items() if key != "name"})


# chestxray14


def archives():
    """Arrays of ChestX-ray14's archives."""
    return [
        f"results/data/chestxray14/arrays/{source['name'].removesuffix('.tar.gz')}.npy"
        for source in config["sources"]["chestxray14"]
        if source["name"].endswith(".tar.gz")
    ]


def tables_of(arrays):
    """The CSVs beside arrays."""
    return [array.replace(".npy", ".csv") for array in arrays]


# covid19


def lateral_views(settings):
    """The list of images to exclude: a path, or what propose_lateral_views writes."""
    given = settings["covid19"]["lateral_views"]
    return f"{COVID19}/lateral_views_proposed.csv" if given == "proposed" else given


def originals(settings):
    """What match_originals found, if it is given a folder to look in."""
    given = settings["covid19"]["originals"]
    return "results/data/covid19/originals.csv" if given else []


def covid19_split_settings(wildcards):
    """Options of split_covid19: replicates differ in the seed."""
    number = int(wildcards.covid19.partition("_split")[2] or 0)
    return options(
        {
            "split_by": config["covid19"]["split_by"],
            "test_per_class": config["covid19"]["test_images_per_class"],
            "validation_fraction": config["covid19"]["validation_fraction"],
            "seed": config["seed"] + number,
        }
    )


# augment


def text_boxes(settings):
    """The list of boxes to cover: a path, what find_words writes, or none."""
    given = settings["covid19"]["text_boxes"]
    return "results/data/{covid19}/found_words.csv" if given == "found" else given or []


def augmentation_settings(wildcards):
    """Options of augment."""
    return options(config["augmentation"] | {"seed": config["seed"]})


# audits


def image_set(name):
    """The array of a split's COVID-19 images and its table."""
    return [f"{COVID19}/{name}.npy", f"{COVID19}/{name}.csv"]


def files_of(given):
    """The paths among the options of an audit."""
    values = [
        (
            value.values()
            if isinstance(value, dict)
            else value if isinstance(value, list) else [value]
        )
        for value in given.values()
    ]
    paths = [path for group in values for path in group]
    return [
        file
        for path in paths
        for file in ([ancient(path), *sums_of([path])] if has_sum(path) else [path])
    ]


def radiologists():
    """The table of radiologists' labels, as an option, if there is one."""
    return {
        "radiologists": f"results/downloads/radiologists/{source['name']}"
        for source in config["sources"].get("radiologists", [])
    }


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


# replicates


def replicate_files(file):
    """A file of each replicate of each net."""
    n = config["replicates"]
    if not n:
        raise config_error(
            "replicates", "0: no replicates; add for example --config replicates=5"
        )
    return [
        f"results/replicates/split{split}_seed{seed}/{net}/{file}"
        for net in config["nets"]
        for split in range(1, n + 1)
        for seed in range(1, n + 1)
    ]


def replicate_files_in_shell(file):
    """The same files as bash expands them: all their names are longer than a command may be."""
    numbers = f"{{1..{config['replicates']}}}"
    return " ".join(
        f"results/replicates/split{numbers}_seed{numbers}/{net}/{file}"
        for net in config["nets"]
    )
