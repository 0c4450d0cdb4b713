"""The jobs that make a result, from their sidecars: in which order, from which level on, where."""

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

from cxr.cli import InputError
from cxr.provenance import FOLDER, step_of

# Steps whose outputs a level takes as they are. It takes those of the levels before it, too.
LEVELS = {
    "data": (
        "draw_phantoms download download_covid19 split_patients prepare_chestxray14"
        " inspect_covid19 match_originals match_metadata propose_lateral_views find_duplicates"
        " split_covid19 find_words prepare_covid19 augment"
    ).split(),
    "weights": "build_net train_phase publish_pretrained load_chexnet".split(),
    "predictions": "predict predict_figure_images predict_findings".split(),
}
# What Snakemake sets for each job.
THREADS = (
    "OMP_NUM_THREADS GOTO_NUM_THREADS OPENBLAS_NUM_THREADS MKL_NUM_THREADS"
    " VECLIB_MAXIMUM_THREADS NUMEXPR_NUM_THREADS"
).split()


def makers(sidecars):
    """{path: sidecar of the job that made it}."""
    return {path: sidecar for sidecar in sidecars for path in sidecar["outputs"]}


def name_of(sidecar):
    """What a job is called: its first output."""
    return next(iter(sidecar["outputs"]))


def steps_before(level):
    """Names of the steps whose outputs are taken as they are; none for None."""
    names = list(LEVELS)
    levels = names[: names.index(level) + 1] if level else []
    return {step for name in levels for step in LEVELS[name]}


def chain_of(results, sidecars, taken=frozenset()):
    """Sidecars of the jobs that make results, each after those whose outputs it reads.

    taken: names of steps that don't run again where all that they made is still there.
    Raises InputError for a result of no job, and for jobs that make each other's inputs.
    """
    made_by = makers(sidecars)
    for result in results:
        if result not in made_by:
            raise InputError(f"{result}: made by no job of {FOLDER}")
    jobs, to_follow = {}, [made_by[result] for result in results]
    while to_follow:
        sidecar = to_follow.pop()
        if name_of(sidecar) in jobs or (_is_there(sidecar) and step_name(sidecar) in taken):
            continue
        before = [made_by[path] for path in sidecar["inputs"] if path in made_by]
        jobs[name_of(sidecar)] = sidecar, before
        to_follow += before
    graph = {
        name: [name_of(job) for job in before if name_of(job) in jobs]
        for name, (_, before) in sorted(jobs.items())
    }
    try:
        return [jobs[name][0] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        raise InputError(
            f"{FOLDER}: jobs that make each other's inputs: {', '.join(error.args[1])}"
        ) from error


def _is_there(sidecar):
    return all(Path(path).exists() for path in sidecar["outputs"])


def step_name(sidecar):
    return Path(step_of(sidecar)).stem


def sources_of(jobs):
    """{path: sha256 or None} of what jobs read and none of them makes: code, sources, levels."""
    made = makers(jobs)
    read = {path: digest for job in jobs for path, digest in job["inputs"].items()}
    return {path: digest for path, digest in sorted(read.items()) if path not in made}


def home_of(sidecar):
    """The workflow's folder, as a job's command names it, seen from the folder that it ran in."""
    return Path(step_of(sidecar)).parent.parent


def environment_of(sidecar):
    """Name of the environment that a job ran in, torch or keras."""
    named = re.search(r"/\.venvs/(\w+)-\w+/bin/python$", f"/{sidecar['command'][0]}")
    packages = sidecar.get("packages") or {}
    return named[1] if named else "keras" if "tensorflow" in packages else "torch"


def threads_of(sidecar):
    """Number of threads that Snakemake gave a job, as text; sidecars of older runs don't say."""
    return str(sidecar.get("threads") or 1)


def duration(jobs):
    """How long jobs took when they were recorded, one after the other, in words."""
    seconds = sum(job["seconds"] for job in jobs)
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def code_in_words(jobs):
    """The commits that jobs ran with."""
    codes = {
        f"commit {job['code'].get('commit') or 'unknown'}"
        f"{' with changes' if job['code'].get('changed') else ''}"
        for job in jobs
    }
    return ", ".join(sorted(codes)) or "none"
