"""Nets and their phases: what starts from what, with which options."""

CLASSES = ["normal", "viral_pneumonia", "covid19"]
COVID19 = "results/data/covid19"
# A folder of links to the images; the CSV beside it has the sum of each, as content decides here, too.
COVID19_IMAGES = "results/downloads/covid19"
# Minutes that a training asks for; it resumes at every attempt.
TRAINING_RUNTIME = {"pretrain_phase": 1440, "train_phase": 720}
N_PHASES = max(
    len(net["phases"])
    for net in [
        *config["pretrained"].values(),
        config["covid19_training"],
        *config["nets"].values(),
    ]
    if "phases" in net
)
# Of the pretrained nets, those trained here; the others are loaded.
TRAINED = [
    name
    for name, net in config["pretrained"].items()
    if net.get("checkpoint", "none") == "none"
]
LOADED = [name for name in config["pretrained"] if name not in TRAINED]


# What `net` and `covid19` match in the rules of replicates; elsewhere, the study's own only.
REPLICATE = rf"replicates/split[1-9]\d*_seed[1-9]\d*/({one_of(config['nets'])})"
ANY_NET = f"{one_of(config['nets'])}|{REPLICATE}|{ASSUMPTION}"
# Nets on phantoms with a planted shortcut, one for each dose.
SHORTCUT = rf"shortcut/dose({one_of(map(str, config['shortcut']['doses']))})"
REPLICATE_SPLIT = r"covid19_split[1-9]\d*"


wildcard_constraints:
    dataset=one_of(sources_of(config)),
    covid19=f"covid19|{REPLICATE_SPLIT}",
    archive=r"[^/]+",
    net=one_of(config["nets"]),
    trained=one_of([*config["nets"], *TRAINED]),
    name=one_of(config["pretrained"]),
    phase=one_of(str(number) for number in range(1, N_PHASES + 1)),
    split="train|val",
    figure="[234]",


def net_of(net):
    """A net's entry in the configuration; that of a replicate is its net's."""
    if is_assumption(net):
        net = assumed_net()
    if is_shortcut(net):
        return config["shortcut"]["net"]
    return config["nets"][Path(net).name]


def is_shortcut(net):
    """Whether a net is one of those on phantoms with a planted shortcut."""
    return net.startswith("shortcut/")


def replicate_of(net):
    """Numbers of the split and of the seed that a net is a replicate for; 0, 0: it is the study's."""
    numbers = re.match(r"replicates/split(\d+)_seed(\d+)/", net)
    return [int(number) for number in numbers.groups()] if numbers else [0, 0]


def training_seed(wildcards):
    """Seed of a net's new weights and of its batches."""
    net = wildcards.get("net", "")
    return settings_of(net)["seed"] + replicate_of(net)[1]


def covid19_file(file):
    """Input function: a file of the COVID-19 images in the split that a net is of."""

    def path(wildcards):
        if is_shortcut(wildcards.net):
            return f"results/data/{wildcards.net}/{file}"
        if is_assumption(wildcards.net):
            return assumption_images(wildcards.net, file)
        split, _ = replicate_of(wildcards.net)
        return f"{COVID19}_split{split}/{file}" if split else f"{COVID19}/{file}"

    return path


def net_settings(wildcards):
    """What build_net makes of a net's entry in the configuration."""
    if "net" in wildcards.keys():
        net, outputs = net_of(wildcards.net), CLASSES
    else:
        net = config["pretrained"][wildcards.name]
        outputs = net["outputs"]
    return options(
        {
            "architecture": net["architecture"],
            "outputs": outputs,
            "keep": net.get("keep_output_neurons"),
            "image_size": net.get("image_size", config["image_size"]),
            "seed": training_seed(wildcards),
        }
    )


def start_of(net):
    """Weights that a net starts from; none for random ones."""
    if net["start"] == "none":
        return []
    if net["start"] == "imagenet":
        return [f"results/downloads/imagenet/{net['architecture']}.pth"]
    return [f"results/pretrained/{net['start']}/model.safetensors"]


def start_option(wildcards, input):
    """Option of build_net: the weights that a net starts from, if it has any."""
    return options({"start": input.get("start") or None})


def gate_of(net):
    """What has to be there before a net starts from weights that were loaded: their AUROC."""
    return (
        [f"results/pretrained/{net['start']}/auroc.csv"]
        if net["start"] in LOADED
        else []
    )


def folder_of(wildcards):
    """Folder of a net under results/: its name, or pretrained/NAME."""
    if "net" in wildcards.keys():
        return wildcards.net
    return f"pretrained/{wildcards.name}"


def phases_of(folder):
    """Phases of a net: its own, or those that all nets on the COVID-19 images share."""
    if folder.startswith("pretrained/"):
        return config["pretrained"][Path(folder).name]["phases"]
    shared = settings_of(folder)["covid19_training"]["phases"]
    return net_of(folder).get("phases", shared)


def phase_files(folder, file):
    """A file of each phase of a net."""
    numbers = range(1, len(phases_of(folder)) + 1)
    return [
        f"results/{folder_at(folder, number)}/phase{number}/{file}"
        for number in numbers
    ]


def last_checkpoint(wildcards):
    """Weights of a net after its last phase."""
    return phase_files(folder_of(wildcards), "checkpoint.safetensors")[-1]


def last_checkpoints():
    """{net: its weights after its last phase}."""
    return {
        net: phase_files(net, "checkpoint.safetensors")[-1] for net in config["nets"]
    }


def previous_checkpoint(wildcards):
    """Weights of the phase before; before phase 1, the net as it was built."""
    folder, previous = folder_of(wildcards), int(wildcards.phase) - 1
    if previous:
        return phase_files(folder, "checkpoint.safetensors")[previous - 1]
    return f"results/{folder_at(folder, 0)}/initial.safetensors"


def phase_settings(wildcards):
    """Training options of one phase of one net."""
    folder = folder_of(wildcards)
    phases = phases_of(folder)
    if int(wildcards.phase) > len(phases):
        raise WorkflowError(f"{folder} has {len(phases)} phases, not {wildcards.phase}")
    pretrained, settings = folder.startswith("pretrained/"), settings_of(folder)
    trained = (
        config["pretrained"][wildcards.name]
        if pretrained
        else settings["covid19_training"]
    )
    shared = {
        "batch_size": trained["batch_size"],
        "seed": training_seed(wildcards),
        "flip": pretrained,  # COVID-19 variants are flipped on disk
    }
    return options(settings["training"] | shared | phases[int(wildcards.phase) - 1])


def histories(wildcards):
    """Histories of all phases of a net that is trained here, pretrained or not."""
    name = wildcards.trained
    return phase_files(
        name if name in config["nets"] else f"pretrained/{name}", "history.csv"
    )


def training_process(name):
    """The words of table 1 for how a net was trained."""
    net = config["nets"][name]
    source = config["pretrained"].get(net["start"], {})
    if net["start"] == "none":
        return "Random weights"
    if net["start"] == "imagenet":
        return "Transfer learning"
    from_imagenet = (
        source["start"] == "imagenet" or source.get("checkpoint", "none") != "none"
    )
    process = (
        "Twice transfer learning"
        if from_imagenet
        else "Transfer learning from ChestX-ray14"
    )
    return (
        f"{process} + output neuron keeping"
        if net.get("keep_output_neurons")
        else process
    )


def by_net(file):
    """{net: a file of it}."""
    return {net: f"results/{net}/{file}" for net in config["nets"]}


def net_files(file):
    """A file of each net."""
    return list(by_net(file).values())


def claims_about(nets):
    """The paper's claims about nets and phases that are configured."""
    return [
        claim
        for claim in config["paper"]["claims"]
        if all(
            net in nets and claim.get("phase", 1) <= len(phases_of(net))
            for net in claim["better"] + claim["other"]
        )
    ]
