"""Paths, options, and how a step starts."""

import hashlib
import json
import re
import shlex
import shutil
import sys
import time
from pathlib import Path

from snakemake import __version__ as snakemake_version

# The workflow's own files, seen from the folder it works in: `--directory` may move that, and
# relative paths keep results valid when both are copied elsewhere.
HERE = Path(os.path.relpath(ROOT))
SCRIPTS = HERE / "workflow_scripts"
REPORT = HERE / "report"  # pages that steps fill, and their style

sys.path.append(str(SCRIPTS.resolve()))
from cxr.code import code_digest, digest_of
from cxr.lrp.methods import BASELINES, IN_INNVESTIGATE, METHODS


def one_of(names):
    """Regular expression for a wildcard that is one of names; matches nothing if there are none."""
    return "|".join(re.escape(name) for name in names) or "(?!)"


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


def as_json(value):
    """A value as JSON, quoted for the shell."""
    return shlex.quote(json.dumps(value, sort_keys=True))


# Environments and code

CONDA = "conda" in {
    str(method) for method in workflow.deployment_settings.deployment_method
}


# PyTorch's environment, by what it is built for.
TORCH = "torch_cuda12" if config.get("pytorch") == "cuda12" else "torch"
CONDA_TORCH = f"../envs/{TORCH}.yaml"


def pins(name):
    """Path of an environment's file of pins."""
    return HERE / "envs" / f"{TORCH if name == 'torch' else name}.txt"


def environment_path(name):
    digest = hashlib.sha256(pins(name).read_bytes()).hexdigest()
    return HERE / ".venvs" / f"{pins(name).stem}-{digest[:12]}"


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
    """Parameters `run` and `code` of a rule: how its shell command starts the script of a step.

    The script runs in an environment, under record.py, which notes in a sidecar what was made from
    what. name: may hold wildcards. temporary: names of outputs that are not kept. inputs: words for
    the shell, where they are too many to be named. resumes: whether it keeps .resume beside its
    first output, for a second attempt. code: digest of the script's code, so that edited code
    reruns what it makes, and a fresh clone beside copied results reruns nothing. It is a parameter
    of its own as Snakemake doesn't compare those that are functions of inputs or outputs.
    """

    def digest(wildcards):
        return code(name.format(**wildcards))

    def command(wildcards, input, output):
        script = name.format(**wildcards)
        path = shlex.quote(str(SCRIPTS / f"{script}.py"))
        if not record:
            return f"{python(environment)} {path}"
        files = [path for path in input if not path.endswith(".complete")]
        lists = {
            "inputs": f"{inputs or shlex.join(files)} {path}",
            "outputs": shlex.join(path for path in output if not is_sidecar(path)),
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

    return {"run": command, "code": digest} if record else {"run": command}


# Snakemake's cache between workflows (--cache) takes what is slow to fetch or make and the same for
# all: sources, arrays, variants, pretrained nets. Off without the variable: Snakemake would warn of
# each rule. A sidecar is an output there, as it has to come along.
CACHE = "SNAKEMAKE_OUTPUT_CACHE" in os.environ
JOBS = "results/provenance/jobs/"


def sidecar(output):
    """Path of the sidecar of a job whose first output this is."""
    return f"{JOBS}{output.removeprefix('results/')}.json"


def is_sidecar(path):
    return path.startswith(JOBS)


def code(script):
    """Digest of a step's script and of the modules that it imports."""
    return code_digest(SCRIPTS / f"{script}.py")


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


# SLURM

# On clusters with accounting, its answers go through slurm/bin/sacct, which says why.
SLURM_BIN = str((HERE / "slurm/bin").resolve())
if shutil.which("sacct") and SLURM_BIN not in map(os.path.realpath, os.get_exec_path()):
    os.environ.update(PATH=os.pathsep.join([SLURM_BIN, *os.get_exec_path()]))
