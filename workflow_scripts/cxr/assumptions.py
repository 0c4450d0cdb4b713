"""What the paper leaves open: the nets that are trained with other settings of the COVID-19 step.

Such a net is named by the settings that differ from the study's own, `fill=128+seed=1`. A key is a
path in the configuration; a phase of a training is known by its number, from 1, and a key that ends
in several names, `augmentation.shift_x,shift_y`, has a list of as many values.
"""

import copy
import random
import re


def alternatives(listed):
    """{name: (key, value)} of {key: values}, sorted by name."""
    return dict(
        sorted(
            (label(key, value), (key, value)) for key, values in listed.items() for value in values
        )
    )


def label(key, value):
    """Name of an alternative that can be a folder: `fill=128` of augmentation.fill and 128."""
    section, _, rest = key.partition(".")
    values = value if isinstance(value, list) else [value]
    words = {None: "none", True: "true", False: "false"}
    texts = [words[v] if v is None or isinstance(v, bool) else str(v) for v in values]
    text = re.sub(r"[^\w.,-]+", "-", ",".join(texts))
    return f"{rest or section}={text}"


def changed(settings, key, value):
    """A copy of the configuration with another value of a key.

    Raises LookupError if it has no such section or phase, ValueError for another number of values.
    """
    settings = copy.deepcopy(settings)
    *path, last = key.split(".")
    place = settings
    for step in path:
        place = place[int(step) - 1] if isinstance(place, list) else place[step]
    names = last.split(",")
    place.update(zip(names, value if len(names) > 1 else [value], strict=True))
    return settings


def first_phase(key):
    """The phase from which on a net trained with another value differs; 0: its initial weights.

    Infinity for what changes no more than the images that it is tested on.
    """
    if key == "seed":
        return 0
    if key.startswith("covid19."):
        return float("inf")
    return int(key.split(".")[2]) if key.startswith("covid19_training.phases.") else 1


def combinations(named, number, seed):
    """A sample of so many names of combinations of alternatives: two keys or more, no two the same.

    named: of alternatives. Each key has its own value or any alternative with equal chances. Raises
    ValueError if there are fewer combinations.
    """
    values = {}
    for name, (key, _) in named.items():
        values.setdefault(key, [""]).append(name)
    possible = 1
    for names in values.values():
        possible *= len(names)
    if number > (possible := possible - 1 - len(named)):
        raise ValueError(f"{number} combinations: there are {possible}")
    rng, drawn = random.Random(seed), {}
    while len(drawn) < number:
        parts = [name for names in values.values() if (name := rng.choice(names))]
        if len(parts) > 1:
            drawn["+".join(sorted(parts))] = True
    return list(drawn)
