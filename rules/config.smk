"""Checks of the configuration: a mistake is one line that names the key."""

import difflib

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


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
                f"a {net['architecture']} can't start from a {source['architecture']}",
            )
        for new, old in net.get("keep_output_neurons", {}).items():
            if old not in source["outputs"]:
                raise config_error(
                    f"nets.{name}.keep_output_neurons.{new}",
                    f"{net['start']} has no output {old!r}, only {source['outputs']}",
                )
    for section in ("heatmaps", "assumptions"):
        if (net := settings[section]["net"]) not in settings["nets"]:
            raise config_error(f"{section}.net", f"no net {net!r}")
    loaded = pretrained["chexnet"]["checkpoint"]
    if loaded not in [
        "none",
        *(source["name"] for source in settings["sources"]["chexnet"]),
    ]:
        raise config_error(
            "pretrained.chexnet.checkpoint", f"sources.chexnet has no {loaded!r}"
        )


def external_dataset(name):
    """What the sources of an external set are called, as those of a data set."""
    return f"external_{name}"


def sources_of(settings):
    """{data set: its sources}, external sets included."""
    external = {
        external_dataset(name): given["sources"]
        for name, given in settings["external"]["sets"].items()
    }
    return settings["sources"] | external


def check_sources(settings):
    """Raise WorkflowError where a local source is neither there nor drawn by the workflow."""
    for dataset, sources in sources_of(settings).items():
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


def check_lungs(settings):
    """Raise WorkflowError where there is nothing to find the lungs by."""
    by, sources = settings["lungs"]["by"], settings["sources"].get("lung_masks", [])
    if by == "masks" and not settings["lungs"]["masks"]:
        raise config_error("lungs.masks", "empty; expected a folder of masks of lungs")
    if by == "net" and not sources:
        raise config_error(
            "sources.lung_masks", "empty; expected masks to train a net on (lungs.by)"
        )
    names = [source["name"] for source in sources]
    for source in sources:
        if source.get("drawn_on", names[0]) not in names:
            raise config_error(
                f"sources.lung_masks.{source['name']}.drawn_on",
                f"{source['drawn_on']!r}; expected one of {names}",
            )


def check_braces(settings):
    """Raise WorkflowError where a path has braces: Snakemake takes them for wildcards."""
    covid19 = settings["covid19"]
    paths = {
        "the workflow's folder": [str(HERE.resolve())],
        "sources": [
            source["local"]
            for sources in sources_of(settings).values()
            for source in sources
            if "local" in source
        ],
        "chestxray14.lists": settings["chestxray14"]["lists"],
        **{
            f"covid19.{key}": [covid19[key] or ""]
            for key in ("lateral_views", "originals", "text_boxes", "masks")
        },
        "lungs.masks": [settings["lungs"]["masks"] or ""],
        "external.sets": [
            given.get("text_boxes") or ""
            for given in settings["external"]["sets"].values()
        ],
    }
    for key, found in paths.items():
        for path in found:
            if set(path) & set("{}"):
                raise config_error(key, f"{path}: choose a path without braces")


def is_phantom(path):
    """Whether rule draw_phantoms makes this file."""
    return Path(path).parts[0] == "phantoms"


def check_external(settings):
    """Raise WorkflowError where a source of an external set can't be one, or is there twice."""
    for name, given in settings["external"]["sets"].items():
        key = f"external.sets.{name}.sources"
        names = [source["name"] for source in given["sources"]]
        if twice := {found for found in names if names.count(found) > 1}:
            raise config_error(key, f"two are called {sorted(twice)[0]!r}")
        if any("kaggle" in source for source in given["sources"]):
            raise config_error(key, "expected url or local, not kaggle")


SCHEMA = yaml.safe_load((HERE / "config/schema.yaml").read_text())
check_keys(config, SCHEMA)
check_nets(config)
check_sources(config)
check_lungs(config)
check_external(config)
check_braces(config)
