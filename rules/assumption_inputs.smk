"""Nets trained with other settings where the paper leaves them open: names, settings, files."""

import functools

from cxr.assumptions import alternatives, changed, combinations, first_phase

ALTERNATIVES = alternatives(config["assumptions"]["alternatives"])
# What `net` matches in the rules of assumptions: the settings that differ, joined by +.
ASSUMPTION = rf"assumptions/({one_of(ALTERNATIVES)})(\+({one_of(ALTERNATIVES)}))*"


def is_assumption(net):
    """Whether a net is one with other settings where the paper leaves them open."""
    return net.startswith("assumptions/")


def differing(net):
    """Names of the settings in which a net differs from the study's own."""
    return Path(net).name.split("+") if is_assumption(net) else []


@functools.cache
def settings_of(net):
    """The configuration that a net is trained by."""
    settings = config
    for name in differing(net):
        key, value = ALTERNATIVES[name]
        where = f"assumptions.alternatives.{key}"
        if key.startswith("covid19_training.phases.") and "phases" in net_of(net):
            raise config_error(where, f"{assumed_net()} has phases of its own")
        try:
            settings = changed(settings, key, value)
        except (LookupError, ValueError) as error:
            raise config_error(where, f"{value!r} fits no setting: {error}") from error
    if is_assumption(net):
        check_keys(settings, SCHEMA)
    return settings


def assumed_net():
    """The net whose COVID-19 step is trained again."""
    return config["assumptions"]["net"]


def narrowed(net, matters):
    """The net with only those other settings that matter, a function of a key; or the study's own."""
    names = [name for name in differing(net) if matters(ALTERNATIVES[name][0])]
    return f"assumptions/{'+'.join(names)}" if names else assumed_net()


def folder_at(net, phase):
    """The folder under results/ of a net's weights after a phase, or of its initial ones, 0.

    Nets that differ later, or in test images alone, have the same.
    """
    if not is_assumption(net):
        return net
    return narrowed(net, lambda key: first_phase(key) <= phase)


def assumption_images(net, file):
    """A file of the COVID-19 images of a net, made again only where its settings change it."""
    sections = {"augmented": "augmentation", "test": "covid19"}
    section = sections.get(re.split("[/_]", file)[0])
    of = narrowed(net, lambda key: key.partition(".")[0] == section)
    return f"results/data/{of}/{file}" if is_assumption(of) else f"{COVID19}/{file}"


def assumption_boxes(wildcards):
    """The list of boxes to cover in a net's test images: a path, or none."""
    found = text_boxes(settings_of(wildcards.net))
    return found.format(covid19="covid19") if found else []


@functools.cache
def assumption_nets():
    """The nets to train: one for each alternative, and the combinations; not the study's own."""
    others = {
        name: (key, value)
        for name, (key, value) in ALTERNATIVES.items()
        if settings_of(f"assumptions/{name}") != config
    }
    listed = config["assumptions"]
    try:
        names = combinations(others, listed["combinations"], config["seed"])
    except ValueError as error:
        raise config_error("assumptions.combinations", error) from error
    return [f"assumptions/{name}" for name in [*others, *names]]


def assumption_files(file):
    """A file of the study's own net, then of each of those with other settings."""
    return [f"results/{net}/{file}" for net in [assumed_net(), *assumption_nets()]]
