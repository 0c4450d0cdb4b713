"""Show where a result comes from: jobs, settings, machines and sources.

Start it in the folder that holds results/. Prints the job of each given result and, below
it, the jobs of all files that it was made from; a job that was printed before appears by name only.

--script prints these jobs as a bash script instead, which reproduces the results without Snakemake:
the recorded commands in order, in their environments. The script verifies code and sources first,
and the results last.
"""

import shlex
import signal
import sys
from pathlib import Path

from cxr.chains import (
    THREADS,
    chain_of,
    code_in_words,
    duration,
    environment_of,
    home_of,
    makers,
    name_of,
    sources_of,
    threads_of,
)
from cxr.checksums import sha256_of
from cxr.cli import InputError, parser, user_errors
from cxr.provenance import FOLDER, read_sidecars, step_of

SCRIPT = """\
#!/usr/bin/env bash
# Reproduces the files below: {jobs} jobs, {duration} by the recorded seconds. Code: {code}.
# Start it in a folder without them, with local sources, from which the workflow is in: {homes}
# Python of the environments: {variables}.
set -euo pipefail
for file in {results}; do
  [ ! -e "$file" ] || {{ echo "error: $file is here already: start elsewhere" >&2; exit 1; }}
done
threads() {{ export {threads}; }}
{interpreters}

# Code and sources, as they were
{sources}
{commands}
# The same as recorded?
{sums}
"""


def trace_result(results, depth):
    made_by = makers(readable_sidecars())
    seen = set()
    for result in results:
        if result not in made_by:
            raise InputError(f"{result}: made by no job of {FOLDER}")
        if not Path(result).exists() or sha256_of(result) != made_by[result]["outputs"][result]:
            print(f"warning: {result} has changed since that job made it; see verify_results.py")
        show(result, made_by, seen, "", depth)


def readable_sidecars():
    sidecars, problems = read_sidecars()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return sidecars


def print_script(results):
    """Print the jobs that make results as a bash script."""
    jobs = chain_of(results, readable_sidecars())
    refuse_line_breaks(jobs)
    made_by = makers(jobs)
    homes = sorted({str(home_of(job)) for job in jobs})
    pythons = {environment_of(job): job["command"][0] for job in jobs}
    sums = {path: made_by[path]["outputs"][path] for path in results}
    print(
        SCRIPT.format(
            results=shlex.join(results),
            jobs=len(jobs),
            duration=duration(jobs),
            code=code_in_words(jobs),
            homes=", ".join(homes),
            variables=", ".join(f"{name.upper()}_PYTHON" for name in sorted(pythons)),
            threads=" ".join(f"{variable}=$1" for variable in THREADS),
            interpreters="\n".join(
                f"{name}=${{{name.upper()}_PYTHON:-{shlex.quote(path)}}}"
                for name, path in sorted(pythons.items())
            ),
            sources=check_of(sources_of(jobs), "--quiet "),
            commands="".join(
                commands_of(job, number, len(jobs)) for number, job in enumerate(jobs, start=1)
            ),
            sums=check_of(sums),
        ),
        end="",
    )


def commands_of(job, number, total):
    """The lines that do a job: its command, and the sums that record.py writes."""
    folders = sorted({str(Path(path).parent) for path in job["outputs"]})
    words, threads = shlex.join(job["command"][1:]), shlex.quote(threads_of(job))
    lines = [
        f"\n# Job {number} of {total}, {job['seconds']:.0f} s: {name_of(job)}",
        f"mkdir -p -- {shlex.join(folders)}",
        f'threads {threads}; "${environment_of(job)}" {words}',
    ]
    for path in job["outputs"]:
        file = Path(path.removesuffix(".sha256"))
        if path.endswith(".sha256") and str(file) in job["outputs"]:
            name, folder = shlex.quote(file.name), shlex.quote(str(file.parent))
            # That of a folder is only for Snakemake.
            lines.append(f"(cd -- {folder}; [ -d {name} ] || sha256sum -- {name} > {name}.sha256)")
    return "\n".join(lines) + "\n"


def check_of(sums, options=""):
    """The lines that check sums of files; folders, whose sum is of names and sums, are named."""
    checked = {path for path, digest in sums.items() if digest and not Path(path).is_dir()}
    lines = [f"{digest}  {path}" for path, digest in sums.items() if path in checked]
    named = [f"# not checked: {path}" for path in sums.keys() - checked]
    command = [f"sha256sum --check {options}- <<'END'", *lines, "END"] if lines else []
    return "\n".join(command + sorted(named))


def refuse_line_breaks(jobs):
    """Raise InputError where a name would end a comment or a list of sums: the rest would run."""
    names = {str(job["code"].get("commit")) for job in jobs}
    names |= {path for job in jobs for path in (*job["inputs"], *job["outputs"], step_of(job))}
    for name in sorted(names):
        if not name.isprintable():
            raise InputError(f"{name!r}: a name in {FOLDER} that no script can hold")


def show(path, made_by, seen, indent, depth):
    """Print a file with its job, and what that was made from."""
    sidecar = made_by.get(path)
    if sidecar is None:
        print(f"{indent}{path}")
        return
    first = next(iter(sidecar["outputs"]))
    again = first in seen
    seen.add(first)
    digest = sidecar["outputs"][path] or "unknown"
    print(f"{indent}{path}  sha256 {digest}{'  (see above)' if again else ''}")
    if again or depth == 0:
        return
    indent += "    "
    print(f"{indent}{shlex.join(sidecar['command'])}")
    print(f"{indent}{circumstances(sidecar)}")
    for warning in sidecar.get("warnings", []):
        print(f"{indent}warning: {warning}")
    for name, digest in sidecar["inputs"].items():
        if name in made_by:
            show(name, made_by, seen, indent, depth - 1)
        elif name != step_of(sidecar):
            print(f"{indent}{name}  sha256 {digest or 'unknown'}")


def circumstances(sidecar):
    """When, where and with which code a job ran."""
    machine, code = sidecar["machine"], sidecar["code"]
    gpus = machine.get("gpus") or []
    cards = ", ".join(f"{gpu.get('name')}, driver {gpu.get('driver')}" for gpu in gpus)
    if machine.get("gpus") is None:
        cards = "GPUs unknown"
    job = f", SLURM job {sidecar['slurm_job_id']}" if sidecar.get("slurm_job_id") else ""
    return (
        f"{sidecar['started']}, {sidecar['seconds']} s, {sidecar.get('peak_memory_mb')} MB, on "
        f"{machine.get('host')} ({machine.get('cpu')}; {cards or 'no GPU'}){job}, commit "
        f"{code.get('commit') or 'unknown'}{' with changes' if code.get('changed') else ''}"
    )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("results", nargs="+", help="files such as results/tables/table3.csv")
    arguments.add_argument(
        "--depth", type=int, default=-1, help="largest number of jobs to go back"
    )
    arguments.add_argument("--script", action="store_true", help="print a bash script")
    chosen = arguments.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    with user_errors():
        if chosen.script:
            print_script(chosen.results)
        else:
            trace_result(chosen.results, chosen.depth)
