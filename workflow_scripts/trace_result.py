"""Show where a result comes from: jobs, settings, machines and sources.

Start it in the folder that holds results/. Prints the job of each given result and, below
it, the jobs of all files that it was made from; a job that was printed before appears by name only.
"""

import shlex
import signal
import sys
from pathlib import Path

from cxr.checksums import sha256_of
from cxr.cli import InputError, parser, user_errors
from cxr.provenance import FOLDER, read_sidecars, step_of


def trace_result(results, depth):
    sidecars, problems = read_sidecars()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    made_by = {path: sidecar for sidecar in sidecars for path in sidecar["outputs"]}
    seen = set()
    for result in results:
        if result not in made_by:
            raise InputError(f"{result}: made by no job of {FOLDER}")
        if not Path(result).exists() or sha256_of(result) != made_by[result]["outputs"][result]:
            print(f"warning: {result} has changed since that job made it; see verify_results.py")
        show(result, made_by, seen, "", depth)


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
    chosen = arguments.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` is no error
    with user_errors():
        trace_result(chosen.results, chosen.depth)
