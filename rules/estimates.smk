"""What the study takes, for preflight: sources, nets to time, images, trainings, disk."""


def all_sources():
    """{name: where from, with sums} of all sources; those of external sets have its name, too."""
    return {
        (
            source["name"]
            if dataset in config["sources"]
            else f"{dataset}/{source['name']}"
        ): source
        for dataset, sources in sources_of(config).items()
        for source in sources
        if not ("local" in source and is_phantom(source["local"]))
    }


def nets_by_speed():
    """[architecture, number of outputs, batch size] of all that are trained, each once."""
    of_study = [
        (net, net["batch_size"], len(net["outputs"]))
        for net in map(config["pretrained"].get, TRAINED)
    ]
    of_study += [
        (net, config["covid19_training"]["batch_size"], len(CLASSES))
        for net in config["nets"].values()
    ]
    found = {(net["architecture"], size): outputs for net, size, outputs in of_study}
    return [
        [architecture, outputs, size] for (architecture, size), outputs in found.items()
    ]


def trust_settings():
    """A short training with what the study's trainings share."""
    return config["training"] | {
        "trainable": "all",
        "epochs": 2,
        "learning_rate": 0.001,
        "weight_decay": 0.01,
        "patience": 0,
        "batch_size": 3,
        "flip": True,
        "seed": config["seed"],
    }


def numbers_of_images():
    """{data set: images in train and val}, as the study's tables say, else as the paper does."""
    counts, given = config["paper"]["counts"], config["augmentation"]
    variants = {
        name: given["rotations"][name] * given["translations"][name] * 2
        for name in CLASSES
    }
    images = {name: counts[f"{name}_images"] for name in CLASSES}
    images["covid19"] -= counts["lateral_views"]
    rest = {
        name: (n - counts["test_images_per_class"]) * variants[name]
        for name, n in images.items()
    }
    share = config["covid19"]["validation_fraction"]
    fractions = config["chestxray14"]["fractions"]
    numbers = {
        "chestxray14": [
            int(part * counts["chestxray14_images"]) for part in fractions[:2]
        ],
        "covid19": [int(part * sum(rest.values())) for part in (1 - share, share)],
    }
    split = Path("results/data/chestxray14/split.csv")
    if split.exists():
        rows = split.read_text().splitlines()
        numbers["chestxray14"] = [
            sum(f",{name}," in row for row in rows) for name in ("train", "val")
        ]
    tables = [Path(f"{COVID19}/augmented/{name}.csv") for name in ("train", "val")]
    if all(table.exists() for table in tables):
        numbers["covid19"] = [
            len(table.read_text().splitlines()) - 1 for table in tables
        ]
    return numbers


def runtime_of(trainer):
    """Minutes that a rule asks for, by a profile's set-resources or by itself."""
    overwritten = workflow.resource_settings.overwrite_resources
    if trainer not in overwritten or "runtime" not in overwritten[trainer]:
        return TRAINING_RUNTIME[trainer]
    return overwritten[trainer]["runtime"].value


def trainings():
    """What each training of the study takes: a list of dictionaries."""
    numbers, found = numbers_of_images(), []
    for folder in [*(f"pretrained/{name}" for name in TRAINED), *config["nets"]]:
        pretrained = folder.startswith("pretrained/")
        settings = (
            config["pretrained"][Path(folder).name]
            if pretrained
            else config["nets"][folder]
        )
        shared = settings if pretrained else config["covid19_training"]
        train, val = numbers["chestxray14" if pretrained else "covid19"]
        trainer = "pretrain_phase" if pretrained else "train_phase"
        for number, phase in enumerate(phases_of(folder), start=1):
            found.append(
                {
                    "name": f"{Path(folder).name}, phase {number}",
                    "rule": trainer,
                    "runtime": runtime_of(trainer),
                    "architecture": settings["architecture"],
                    "batch_size": shared["batch_size"],
                    "train": train,
                    "val": val,
                    "flip": pretrained,
                    "epochs": phase["epochs"],
                    "trainable": phase["trainable"],
                }
            )
    return found


def needed_gb():
    """Disk that the study takes: downloads, arrays, variants, weights."""
    downloads = sum(
        source.get("bytes", 0)
        for sources in sources_of(config).values()
        for source in sources
        if "url" in source
    )
    numbers = numbers_of_images()
    images = sum(map(sum, numbers.values())) * config["image_size"] ** 2
    weights = 80e6 * (len(trainings()) + 4 * len(config["nets"]))
    return round((downloads + images + weights) / 1e9 + 10, 1)  # 10: environments
