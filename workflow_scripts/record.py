"""Run a step, and note beside its outputs what they were made from, by what and where.

Everything after `--` is the step's command; its exit code is this one's. If it succeeds, the
sidecar of --outputs is written (workflow_scripts/cxr/provenance.py says what is in it). Signals
reach the step.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

from cxr.files import write_whole
from cxr.provenance import code_version, machine, now, packages, sha256_of, sidecar_of

SUM = ".sha256"


def record(inputs, outputs, temporary, code, command):
    started, start = now(), time.monotonic()
    failed = run(command)
    if failed:
        return failed
    seconds = round(time.monotonic() - start, 3)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sidecar = {
        "command": command,
        "code": code_version(Path(__file__).parent) | {"sha256": code},
        "inputs": {path: sha256_of(path) for path in inputs},
        "outputs": hash_outputs(outputs),
        "temporary": temporary,
        "started": started,
        "seconds": seconds,
        "peak_memory_mb": peak,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "machine": machine(),
        "packages": packages(),
    }
    write_whole(sidecar_of(outputs[0]), json.dumps(sidecar, indent=1) + "\n")
    return 0


def hash_outputs(outputs):
    """{path: sha256}. FILE.sha256 beside a FILE is written here, as sha256sum writes it."""
    to_write = {
        path for path in outputs if path.endswith(SUM) and path.removesuffix(SUM) in outputs
    }
    sums = {path: sha256_of(path) for path in outputs if path not in to_write}
    for path in sorted(to_write):
        file = path.removesuffix(SUM)
        write_whole(path, f"{sums[file]}  {Path(file).name}\n")
        sums[path] = sha256_of(path)
    return sums


def run(command):
    """Exit code of a command; 128 and the signal's number where a signal ended it."""
    process = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: process.send_signal(number))
    code = process.wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", nargs="*", default=[], help="files that the step reads")
    parser.add_argument("--outputs", nargs="+", required=True, help="files that it writes")
    parser.add_argument("--temporary", nargs="*", default=[], help="those that are not kept")
    parser.add_argument("--code", help="sum of the step's code")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    chosen = parser.parse_args()
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        parser.error("no command after --")
    sys.exit(record(chosen.inputs, chosen.outputs, chosen.temporary, chosen.code, command))
