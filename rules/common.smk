"""Checks of the configuration, and every function that rules take inputs and options from."""

import csv
import difflib
import hashlib
import json
import re
import shlex
import shutil
import sys
from functools import cache
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from snakemake import __version__ as snakemake_version
from snakemake.exceptions import WorkflowError

# The workflow's own files, seen from the folder it works in: `--directory` may move that, and
# relative paths keep results valid when both are copied elsewhere.
HERE = Path(os.path.relpath(workflow.basedir))
SCRIPTS = HERE / "workflow_scripts"


def config_error(key, problem):
    return WorkflowError(f"config: {key}: {problem}")


def check_keys(settings, schema):
    """Raise WorkflowError, naming the key's path, where the configuration doesn't fit the schema."""
    error = best_match(Draft202012Validator(schema).iter_errors(settings))
    if error is None:
        return
    path = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(key for key in error.instance if key not in known)
        close = difflib.get_close_matches(str(unknown), known, n=1)
        advice = (
            f"did you mean {close[0]!r}?"
            if close
            else f"expected one of {sorted(known)}"
        )
        raise config_error(f"{path}.{unknown}".lstrip("."), f"unknown key; {advice}")
    raise config_error(path, error.message)


def check_nets(settings):
    """Raise WorkflowError where nets name starts, weights or outputs that don't exist."""
    pretrained = settings["pretrained"]
    weights = {source["name"] for source in settings["sources"]["imagenet"]}
    for group in ("pretrained", "nets"):
        for name, net in settings[group].items():
            key = f"{group}.{name}.start"
            starts = ["imagenet", "none", *(pretrained if group == "nets" else [])]
            if net["start"] not in starts:
                raise config_error(key, f"{net['start']!r}; expected one of {starts}")
            if (
                net["start"] == "imagenet"
                and f"{net['architecture']}.pth" not in weights
            ):
                raise config_error(
                    key, f"sources.imagenet has no {net['architecture']}.pth"
                )
    for name, net in settings["nets"].items():
        source = pretrained.get(
            net["start"], {"architecture": net["architecture"], "outputs": []}
        )
        if net["architecture"] != source["architecture"]:
            raise config_error(
                f"nets.{name}",
                f"a a {net['architecture']} can't start from a {source['architecture']}",
            )
        for new, old in net.get("keep_output_neurons", {}).items():
            if old not in source["outputs"]:
                raise config_error(
                    f"nets.{name}.keep_output_neurons.{new}",
                    f"{net['start']} has no output {old!r}, only {source['outputs']}",
                )
    if settings["heatmaps"]["net"] not in settings["nets"]:
        raise config_error("heatmaps.net", f"no net {settings['heatmaps']['net']!r}")
    loaded = pretrained["chexnet"]["checkpoint"]
    if loaded not in [
        "none",
        *(source["name"] for source in settings["sources"]["chexnet"]),
    ]:
        raise config_error(
            "pretrained.chexnet.checkpoint", f"sources.chexnet has no {loaded!r}"
        )


def check_sources(settings):
    """Raise WorkflowError where a local source is neither there nor drawn by the workflow."""
    for dataset, sources in settings["sources"].items():
        for source in sources:
            local, fetched = source.get("local"), Path(
                "results/downloads", dataset, source["name"]
            )
            if local and not (
                Path(local).exists() or fetched.exists() or is_phantom(local)
            ):
                raise config_error(
                    f"sources.{dataset}",
                    f"{source['name']}: no such file or folder: {Path(local).absolute()}",
                )


def check_braces(settings):
    """Raise WorkflowError where a path has braces: Snakemake takes them for wildcards."""
    covid19 = settings["covid19"]
    paths = {
        "the workflow's folder": [str(HERE.resolve())],
        "sources": [
            source["local"]
            for sources in settings["sources"].values()
            for source in sources
            if "local" in source
        ],
        "chestxray14.lists": settings["chestxray14"]["lists"],
        **{
            f"covid19.{key}": [covid19[key] or ""]
            for key in ("lateral_views", "originals", "text_boxes")
        },
    }
    for key, found in paths.items():
        for path in found:
            if set(path) & set("{}"):
                raise config_error(key, f"{path}: choose a path without braces")


def is_phantom(path):
    """Whether rule draw_phantoms makes this file."""
    return Path(path).parts[0] == "phantoms"


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
    lists = [settings["covid19"]["lateral_views"], settings["covid19"]["text_boxes"]]
    return [path for path in [*local, *lists] if path and is_phantom(path)]


def lateral_views(settings):
    """The list of images to exclude: a path, or what propose_lateral_views writes."""
    given = settings["covid19"]["lateral_views"]
    return f"{COVID19}/lateral_views_proposed.csv" if given == "proposed" else given


def originals(settings):
    """What match_originals found, if it is given a folder to look in."""
    given = settings["covid19"]["originals"]
    return "results/data/covid19/originals.csv" if given else []


def text_boxes(settings):
    """The list of boxes to cover: a path, what find_words writes, or none."""
    given = settings["covid19"]["text_boxes"]
    return "results/data/{covid19}/found_words.csv" if given == "found" else given or []


check_keys(config, yaml.safe_load((HERE / "config/schema.yaml").read_text()))
check_nets(config)
check_sources(config)
check_braces(config)

CLASSES = ["normal", "viral_pneumonia", "covid19"]
COVID19 = "results/data/covid19"
# A folder of links to the images; the CSV beside it has the sum of each, as content decides here, too.
COVID19_IMAGES = "results/downloads/covid19"
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


def one_of(names):
    """Regular expression for a wildcard that is one of names; matches nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


# What `net` and `covid19` match in the rules of replicates; elsewhere, the study's own only.
REPLICATE = rf"replicates/split[1-9]\d*_seed[1-9]\d*/({one_of(config['nets'])})"
ANY_NET = f"{one_of(config['nets'])}|{REPLICATE}"
REPLICATE_SPLIT = r"covid19_split[1-9]\d*"


wildcard_constraints:
    dataset=one_of(config["sources"]),
    covid19=f"covid19|{REPLICATE_SPLIT}",
    archive=r"[^/]+",
    net=one_of(config["nets"]),
    trained=one_of([*config["nets"], *TRAINED]),
    name=one_of(config["pretrained"]),
    phase=one_of(str(number) for number in range(1, N_PHASES + 1)),
    split="train|val",
    figure="[234]",


def options(settings):
    """Command-line options: {"batch_size": 9, "flip": True} -> `--batch-size 9 --flip`.

    Sorted by name: the order of keys in a configuration file means nothing and reruns nothing.
    """
    words = []
    for key, value in sorted(settings.items()):
        name = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(name)
        elif isinstance(value, dict):
            words += [
                name,
                *(f"{left}={right}" for left, right in sorted(value.items())),
            ]
        elif isinstance(value, list):
            words += [name, *map(str, value)]
        elif value is not None and value is not False:
            words += [name, str(value)]
    return shlex.join(words)


# Environments and code

CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}


def pins(name):
    """Path of an environment's file of pins."""
    return HERE / "envs" / f"{name}.txt"


def environment_path(name):
    digest = hashlib.sha256(pins(name).read_bytes()).hexdigest()
    return HERE / ".venvs" / f"{name}-{digest[:12]}"


def environment(name):
    """Input of a rule that runs in an environment; conda's are made by Snakemake itself."""
    return [] if CONDA else ancient(str(environment_path(name) / ".complete"))


def growing(amount):
    """A resource that grows with every attempt: minutes, or MB."""
    return lambda wildcards, attempt: amount * attempt


def python(name):
    """Interpreter of an environment, which nothing of the user's own Python gets into."""
    path = "python" if CONDA else environment_path(name) / "bin/python"
    return f"{shlex.quote(str(path))} -E -s"


def step(
    name, environment="torch", temporary=(), inputs=None, record=True, resumes=False
):
    """Parameter `run` of a rule: how its shell command starts the script of a step.

    The script runs in an environment, under record.py, which notes in a sidecar what was made from
    what. name: may hold wildcards. temporary: names of outputs that are not kept. inputs: words for
    the shell, where they are too many to be named. The digest of the script's code is part of the
    command, so that edited code reruns what it makes, and a fresh
    clone beside copied results reruns nothing. resumes: whether it keeps .resume beside its first
    output, for a second attempt.
    """

    def command(wildcards, input, output):
        script = name.format(**wildcards)
        path = shlex.quote(str(SCRIPTS / f"{script}.py"))
        if not record:
            return f"{python(environment)} {path}"
        files = [path for path in input if not path.endswith(".complete")]
        lists = {
            "inputs": f"{inputs or shlex.join(files)} {path}",
            "outputs": shlex.join(output),
            "temporary": shlex.join(output[name] for name in temporary),
            "then-remove": (
                shlex.quote(str(Path(output[0]).with_name(".resume")))
                if resumes
                else ""
            ),
        }
        paths = " ".join(f"--{key} {paths}" for key, paths in lists.items() if paths)
        return (
            f"{python(environment)} {shlex.quote(str(SCRIPTS / 'record.py'))} {paths}"
            f" --code {code(script)} -- {python(environment)} {path}"
        )

    return command


@cache
def code(script):
    """Digest of a step's script and of the modules of cxr/ that it imports, directly or not.

    How steps log and write files changes no result, so those modules don't count.
    """
    found = to_read = {SCRIPTS / f"{script}.py"}
    while to_read:
        text = "\n".join(path.read_text() for path in to_read)
        names = re.findall(r"^\s*from cxr\.(\w+) import", text, re.MULTILINE)
        names += re.findall(r"^\s*from cxr import (\w+)", text, re.MULTILINE)
        modules = {SCRIPTS / "cxr" / f"{name}.py" for name in names}
        to_read = {
            path for path in modules if path.stem not in ("files", "logs")
        } - found
        found = found | to_read
    return digest_of(found)


def digest_of(paths):
    """What changes with the content of files, not with their age."""
    content = b"\0".join(path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(content).hexdigest()[:16]


# SLURM

# On clusters with accounting, its answers go through slurm/bin/sacct, which says why.
SLURM_BIN = str((HERE / "slurm/bin").resolve())
if shutil.which("sacct") and SLURM_BIN not in map(os.path.realpath, os.get_exec_path()):
    os.environ.update(PATH=os.pathsep.join([SLURM_BIN, *os.get_exec_path()]))

# Sources


def source_of(dataset, name):
    return next(
        source for source in config["sources"][dataset] if source["name"] == name
    )


def local_source(wildcards):
    """The local path of a source, if it has one."""
    source = source_of(wildcards.dataset, wildcards.source)
    return [source["local"]] if "local" in source else []


def source_options(wildcards):
    """Where a source comes from and its sums, as options of download.py."""
    source = source_of(wildcards.dataset, wildcards.source)
    return options({key: value for key, value in source.items() if key != "name"})


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


def sums_of(paths):
    """The sums that record.py writes beside large files.

    Snakemake hashes each input of up to max-checksum-file-size (profiles/) once per output of the
    job, in the scheduler. Rules take what can be larger as `ancient` and its sum beside it, so that
    its content, not its age, says what has to be made again.
    """
    return [f"{path}.sha256" for path in paths]


def has_sum(path):
    """Whether a file has a sum beside it: image sets that nets learn from."""
    return re.search(r"(/arrays/.*|/(train|val))\.npy$", path) is not None


# Nets


def net_of(net):
    """A net's entry in the configuration; that of a replicate is its net's."""
    return config["nets"][Path(net).name]


def replicate_of(net):
    """Numbers of the split and of the seed that a net is a replicate for; 0, 0: it is the study's."""
    numbers = re.match(r"replicates/split(\d+)_seed(\d+)/", net)
    return [int(number) for number in numbers.groups()] if numbers else [0, 0]


def training_seed(wildcards):
    """Seed of a net's new weights and of its batches."""
    return config["seed"] + (
        replicate_of(wildcards.net)[1] if "net" in wildcards.keys() else 0
    )


def covid19_of(file):
    """Input function: a file of the COVID-19 images in the split that a net is of."""

    def path(wildcards):
        split, _ = replicate_of(wildcards.net)
        return f"{COVID19}_split{split}/{file}" if split else f"{COVID19}/{file}"

    return path


def augmentation_settings(wildcards):
    """Options of augment."""
    return options(config["augmentation"] | {"seed": config["seed"]})


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
            "image_size": config["image_size"],
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


def previous_checkpoint(wildcards):
    """Weights of the phase before; before phase 1, the net as it was built."""
    previous = int(wildcards.phase) - 1
    if "net" in wildcards.keys():
        folder = f"results/{wildcards.net}"
    else:
        folder = f"results/pretrained/{wildcards.name}"
    return (
        f"{folder}/phase{previous}/checkpoint.safetensors"
        if previous
        else f"{folder}/initial.safetensors"
    )


def phases_of(net):
    """Phases of a net on the COVID-19 images: its own, or those that all nets share."""
    return net_of(net).get("phases", config["covid19_training"]["phases"])


def phase_numbers(phases):
    return range(1, len(phases) + 1)


def covid19_phase_settings(wildcards):
    """Training options of one phase of one net."""
    phases = phases_of(wildcards.net)
    if int(wildcards.phase) > len(phases):
        raise WorkflowError(
            f"{wildcards.net} has {len(phases)} phases, not {wildcards.phase}"
        )
    phase = phases[int(wildcards.phase) - 1]
    shared = {
        "batch_size": config["covid19_training"]["batch_size"],
        "seed": training_seed(wildcards),
    }
    return options(config["training"] | shared | phase)


def chestxray14_phase_settings(wildcards):
    """Training options of one phase of a pretrained net."""
    net = config["pretrained"][wildcards.name]
    if int(wildcards.phase) > len(net["phases"]):
        raise WorkflowError(
            f"{wildcards.name} has {len(net['phases'])} phases, not {wildcards.phase}"
        )
    phase = net["phases"][int(wildcards.phase) - 1]
    shared = {"batch_size": net["batch_size"], "seed": config["seed"], "flip": True}
    return options(config["training"] | shared | phase)


def of_phases(net, file):
    """A file of each phase of a net."""
    return [
        f"results/{net}/phase{number}/{file}"
        for number in phase_numbers(phases_of(net))
    ]


def of_pretrained_phases(name, file):
    """A file of each phase of a pretrained net."""
    phases = config["pretrained"][name]["phases"]
    return [
        f"results/pretrained/{name}/phase{number}/{file}"
        for number in phase_numbers(phases)
    ]


def histories_of(name):
    """Histories of all phases of a net that is trained here, pretrained or not."""
    if name in config["nets"]:
        return of_phases(name, "history.csv")
    return of_pretrained_phases(name, "history.csv")


# Tables


def as_json(value):
    """A value as JSON, quoted for the shell."""
    return shlex.quote(json.dumps(value, sort_keys=True))


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


def of_nets(file):
    """A file of each net."""
    return [f"results/{net}/{file}" for net in config["nets"]]


def replicates(file):
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


def replicates_in_shell(file):
    """The same files as bash expands them: all their names are longer than a command may be."""
    numbers = f"{{1..{config['replicates']}}}"
    return " ".join(
        f"results/replicates/split{numbers}_seed{numbers}/{net}/{file}"
        for net in config["nets"]
    )


# Audits


def last_checkpoints():
    """The net of each name after its last phase."""
    return {net: of_phases(net, "checkpoint.safetensors")[-1] for net in config["nets"]}


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


REPORT = HERE / "report"  # pages that steps fill, and their style
CHECKLISTS = HERE / "report/checklists.csv"
EVIDENCE = sorted(
    {
        name.replace("{net}", config["heatmaps"]["net"])
        for row in csv.DictReader(CHECKLISTS.read_text().splitlines())
        for name in row["evidence"].split("; ")
    }
)
PREDICTIONS = {net: f"results/{net}/predictions.csv" for net in config["nets"]}
HEATMAPS = f"results/{config['heatmaps']['net']}/heatmaps"
UNEDITED = ("train", "val", "test_unedited")  # the COVID-19 images as they were read
# The files that each audit_NAME.py is given, by option.
AUDITS = {
    "patients": {
        "chestxray14": "results/data/chestxray14/split.csv",
        "covid19": f"{COVID19}/split.csv",
        "pairs": "results/audits/pretraining.csv",
    },
    "selection": {
        "histories": [
            path for net in config["nets"] for path in of_phases(net, "history.csv")
        ],
        "train": f"{COVID19}/augmented/train.csv",
        "val": f"{COVID19}/augmented/val.csv",
        "split": f"{COVID19}/split.csv",
        "pairs": "results/audits/pretraining.csv",
        "chestxray14": "results/data/chestxray14/split.csv",
    },
    "duplicates": {
        "duplicates": f"{COVID19}/duplicates.csv",
        "split": f"{COVID19}/split.csv",
        "predictions": PREDICTIONS,
    },
    "sources": {
        "metadata": f"{COVID19}/metadata.csv",
        "split": f"{COVID19}/split.csv",
    },
    "pretraining": {
        "chestxray14": archives(),
        "chestxray14_tables": tables_of(archives()),
        "covid19": [f"{COVID19}/{name}.npy" for name in UNEDITED],
        "covid19_tables": [f"{COVID19}/{name}.csv" for name in UNEDITED],
    },
    "nuisance": {
        "manifest": f"{COVID19}/manifest.csv",
        "train": f"{COVID19}/train.npy",
        "train_table": f"{COVID19}/train.csv",
        "val": f"{COVID19}/val.npy",
        "val_table": f"{COVID19}/val.csv",
        "test": f"{COVID19}/test_unedited.npy",
        "test_table": f"{COVID19}/test_unedited.csv",
    },
    "regions": {
        "nets": last_checkpoints(),
        "train": f"{COVID19}/train.npy",
        "train_table": f"{COVID19}/train.csv",
        "images": f"{COVID19}/test_edited.npy",
        "images_table": f"{COVID19}/test_edited.csv",
    },
    "text": {"text_boxes": f"{COVID19}/text_boxes.csv", "predictions": PREDICTIONS},
    "relevance": {
        "relevance": f"{HEATMAPS}/test_set.npz",
        "table": f"{HEATMAPS}/test_set.csv",
    },
    "adults": {
        "nets": last_checkpoints(),
        "images": archives(),
        "tables": tables_of(archives()),
        "split": "results/data/chestxray14/split.csv",
        "labels": f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        "pairs": "results/audits/pretraining.csv",
        "covid19": f"{COVID19}/split.csv",
    },
}
AUDITS_WITH_NETS = {name for name, files in AUDITS.items() if "nets" in files}
SEED = {"seed": config["seed"]}
# Where each net's pretraining on ChestX-ray14 was done: if elsewhere, its split is not known.
PRETRAINING = {
    "pretraining": {
        name: (
            "here"
            if net["start"] in TRAINED
            else "elsewhere" if net["start"] in LOADED else "none"
        )
        for name, net in config["nets"].items()
    }
}
AUDIT_SETTINGS = {
    "selection": PRETRAINING,
    "pretraining": config["covid19"]["duplicates"]
    | {"same_picture": config["audits"]["same_picture"]},
    "nuisance": SEED,
    "regions": SEED,
    "text": SEED,
    "relevance": SEED,
    "adults": SEED | PRETRAINING | {"most": config["audits"]["max_adults"]},
}
