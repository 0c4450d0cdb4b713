"""One virtual environment per file of pins, or conda's with `--sdm conda`.

An environment's path carries the hash of its pins: changed pins make a new environment and
rerun what uses it, a deleted one is made again and reruns nothing.
"""

import hashlib
import sys

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


# Interpreters, by name in shell commands: as params they would rerun everything at a change.
TORCH = "python" if CONDA else environment_path("torch") / "bin/python"
KERAS = "python" if CONDA else environment_path("keras") / "bin/python"
UV = f"{sys.executable} -m uv"  # of the environment that Snakemake runs in


localrules:
    environments,
    make_environment,


rule environments:
    input:
        environment("torch"),
        environment("keras"),


rule make_environment:
    output:
        touch(str(HERE / ".venvs" / "{environment}-{digest}" / ".complete")),
    log:
        str(HERE / ".venvs" / "{environment}-{digest}.log"),
    params:
        pins=lambda wildcards: pins(wildcards.environment),
        folder=subpath(output[0], parent=True),
    message:
        "Making the environment {wildcards.environment} from its pins"
    shell:
        "({UV} venv --clear --python 3.11 {params.folder}"
        " && {UV} pip install --python {params.folder}/bin/python --require-hashes --no-deps"
        " -r {params.pins}) &> {log}"
