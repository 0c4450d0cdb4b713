"""What rules take inputs and options from, in the order of their files."""

# download


def is_folder(path):
    """Whether a local source is a folder of images rather than a file."""
    return not Path(path).suffix


def phantoms(settings):
    """Files that the configuration expects of draw_phantoms; none in the real study."""
    local = [
        source.get("local")
        for sources in sources_of(settings).values()
        for source in sources
    ]
    lists = [
        settings["covid19"][key] for key in ("lateral_views", "text_boxes", "masks")
    ] + [given.get("text_boxes") for given in settings["external"]["sets"].values()]
    found = [*local, *lists, settings["lungs"]["masks"]]
    return list(dict.fromkeys(path for path in found if path and is_phantom(path)))


def source_of(dataset, name):
    return next(
        source for source in sources_of(config)[dataset] if source["name"] == name
    )


def source_pattern(local):
    """Pattern of the names of sources that are local, or are not, each behind its data set's.

    Sources of two data sets may have one name. The COVID-19 database is apart.
    """
    names = [
        f"(?<=/{re.escape(dataset)}/){re.escape(source['name'])}"
        for dataset, sources in sources_of(config).items()
        for source in sources
        if dataset != "covid19" and ("local" in source) == local
    ]
    return "|".join(names) or one_of([])


def local_covid19():
    """Local path of the COVID-19 database, if it has one; the age of a folder means nothing."""
    return [
        source["local"] for source in config["sources"]["covid19"] if "local" in source
    ]


def source_options(wildcards):
    """Where a source comes from and its sums, as options of download.py."""
    source = source_of(wildcards.dataset, wildcards.source)
    of_others = ("name", "drawn_on", "git_tree")
    return options({key: source[key] for key in source if key not in of_others})


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
    settings = settings_of(wildcards.get("net", ""))
    return options(settings["augmentation"] | {"seed": config["seed"]})


# lungs


def lungs_by():
    """What finds the lungs: net, masks or ellipse.

    A study whose images are local fetches masks only where it says `by: net`.
    """
    chosen, masks = config["lungs"]["by"], config["sources"].get("lung_masks", [])
    if chosen != "auto":
        return chosen
    fetched = any("local" not in source for source in masks)
    return "net" if masks and not (fetched and local_covid19()) else "ellipse"


def lung_sources():
    """{name: (path of masks, path of their images)} of sources.lung_masks."""
    sources = config["sources"].get("lung_masks", [])
    paths = {source["name"]: lung_path(source) for source in sources}
    of_images = {source.get("drawn_on") for source in sources}
    return {
        source["name"]: (
            paths[source["name"]],
            paths.get(source.get("drawn_on"), COVID19_IMAGES),
        )
        for source in sources
        if source["name"] not in of_images
    }


def lung_path(source):
    """A local folder itself, a file where it is downloaded or linked to."""
    local = source.get("local")
    if local and (Path(local).is_dir() or is_phantom(local) and is_folder(local)):
        return local
    return f"results/downloads/lung_masks/{source['name']}"


def lung_inputs(paths):
    """Folders and files of masks or images; the age of phantoms and of links means nothing."""
    own = [path for path in paths if path == COVID19_IMAGES or is_phantom(path)]
    return [ancient(path) if path in own else path for path in paths] + [
        f"{path}.csv" if path == COVID19_IMAGES else f"{path}.sha256" for path in own
    ]


def lung_images():
    """The COVID-19 images to find lungs in, as options of find_lungs."""
    arrays = [f"{COVID19}/{name}.npy" for name in UNEDITED]
    return {"images": arrays, "tables": tables_of(arrays)}


def lung_finder():
    """What the lungs are found by, likewise."""
    if lungs_by() == "net":
        return {
            "net": "results/lungs/net.safetensors",
            "dice": "results/lungs/dice.csv",
        }
    return {"masks": config["lungs"]["masks"], "manifest": f"{COVID19}/manifest.csv"}


def lungs_found():
    """The lungs of the COVID-19 images, as an option of audits; without it they are the ellipse."""
    if lungs_by() == "ellipse":
        return {}
    return {"lungs": [f"{COVID19}/lungs.npz", f"{COVID19}/lungs.csv"]}


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
