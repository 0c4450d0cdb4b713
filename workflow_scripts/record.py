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


def record(inputs, outputs, temporary, command):
    started, start = now(), time.monotonic()
    code = run(command)
    if code:
        return code
    seconds = round(time.monotonic() - start, 3)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    sidecar = {
        "command": command,
        "code": code_version(Path(__file__).parent),
        "inputs": {path: sha256_of(path) for path in inputs},
        "outputs": {path: sha256_of(path) for path in outputs},
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
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    chosen = parser.parse_args()
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        parser.error("no command after --")
    sys.exit(record(chosen.inputs, chosen.outputs, chosen.temporary, command))
