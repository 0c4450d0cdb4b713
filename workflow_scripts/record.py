"""Run a step, and note beside its outputs what they were made from, by what and where.

Everything after `--` is the step's command; its exit code is this one's. If it succeeds, the
sidecar of --outputs is written (workflow_scripts/cxr/provenance.py says what is in it). Signals
reach the step. Inputs are hashed while the step runs.

Nothing here costs a step its result. What can't be found out is null in the sidecar, with a
warning. Where the sidecar itself can't be written, as on a full disk, there is only the warning;
verify_results.py then names the results that have none. Told to stop when the step has succeeded
already, it leaves out the sums that take longer than some seconds.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from cxr import provenance
from cxr.checksums import known_sha256_of, sha256_of
from cxr.cli import user_errors
from cxr.files import write_file
from cxr.provenance import now, sidecar_of, state_of

PATIENCE = 2.0 * provenance.TIMEOUT + 5.0  # seconds for commands that hang, after the step
HURRY = 3.0  # seconds for all that is left, once told to stop

SUM = ".sha256"


class Step:
    """A command that runs, and whether this process was told to stop."""

    def __init__(self, command):
        self.process, self.told_to_stop = None, False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._pass_on)
        self.process = subprocess.Popen(command)
        if self.told_to_stop:
            self.process.terminate()

    def _pass_on(self, number, _):
        self.told_to_stop = True
        if self.process:
            self.process.send_signal(number)  # nothing is sent if it has ended

    def wait(self):
        """Exit code of the command; 128 and the signal's number where a signal ended it."""
        code = self.process.wait()
        return 128 - code if code < 0 else code


class Answers(threading.Thread):
    """What functions return, {name: value}, found out beside the step, and never in its way."""

    def __init__(self, questions, warn):
        super().__init__(daemon=True)  # so that one that hangs doesn't keep this process
        self.questions, self.warn, self.known = questions, warn, {}
        with suppress(RuntimeError):  # no more threads are allowed: then wait() asks
            self.start()

    def run(self):
        for name, question in self.questions.items():
            try:
                self.known[name] = question()
            except Exception as error:  # whatever it is, it must not cost the step its result
                self.known[name] = None
                self.warn(f"{name}: not found out: {str(error) or type(error).__name__}")

    def wait(self, step, patience=float("inf")):
        """{name: value}, None for what isn't known in time."""
        if self.ident is None:
            self.run()
        end = time.monotonic() + patience
        while self.is_alive() and time.monotonic() < end:
            self.join(0.05)
            if step.told_to_stop:
                end = min(end, time.monotonic() + HURRY)
                self.join(max(0, end - time.monotonic()))
        found = dict(self.known)
        for name in self.questions:
            if name not in found:
                self.warn(f"{name}: not found out in time")
        return {name: found.get(name) for name in self.questions}


class Warnings(list):
    """Warnings, kept for the sidecar and shown on stderr, which may be a log on a full disk."""

    def __call__(self, text):
        self.append(text)
        with suppress(OSError):
            os.write(2, f"warning: record.py: {text}\n".encode(errors="backslashreplace"))


def record(inputs, outputs, temporary, command, code=None, then_remove=()):
    warn = Warnings()
    started, start = now(), time.monotonic()
    step = Step(command)
    states = Answers({path: partial(state_of, path) for path in inputs}, lambda _: None)
    facts = Answers(questions(warn), warn)
    sums = Answers({path: partial(known_sha256_of, path) for path in inputs}, warn)
    if failed := step.wait():
        return failed
    seconds = round(time.monotonic() - start, 3)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    listed = write_sums(outputs)  # outputs of the step like others: without them, it has failed
    rest = {path: partial(sha256_of, path) for path in outputs if path not in listed}
    made = Answers(rest, warn)
    found = facts.wait(step, PATIENCE)
    sums_of_outputs = made.wait(step) | listed
    sidecar = {
        "command": command,
        "code": (found.pop("code") or {"commit": None, "changed": None}) | {"sha256": code},
        "inputs": sums.wait(step),
        "outputs": {path: sums_of_outputs[path] for path in outputs},
        "temporary": temporary,
        "started": started,
        "seconds": seconds,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 3),
        "peak_memory_mb": used.ru_maxrss // 1024,
        "slurm_job_id": os.environ.get("SLURM_JOB_ID"),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "packages": found.pop("packages"),
        "machine": found | {"cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES")},
        "warnings": warn,
    }
    warn_of_changes(states.wait(step, PATIENCE), warn)
    if step.told_to_stop:
        warn("told to stop, but the step has succeeded: its result is kept")
    if write_sidecar(sidecar_of(outputs[0]), sidecar, warn) and not step.told_to_stop:
        for path in then_remove:
            with suppress(OSError):
                os.unlink(path)
    return 0


def write_sums(outputs):
    """Write each FILE.sha256 that is an output beside FILE, as sha256sum does: {path: sha256}."""
    sums = {}
    for path in outputs:
        file = path.removesuffix(SUM)
        if path.endswith(SUM) and file in outputs:
            sums[file] = sha256_of(file)
            write_file(path, f"{sums[file]}  {Path(file).name}\n")
            sums[path] = sha256_of(path)
    return sums


def questions(warn):
    """What the sidecar says of code, packages and machine, as functions; the slowest last."""
    return {
        "packages": partial(provenance.packages, warn),
        "host": provenance.platform.node,
        "system": provenance.platform.platform,
        "cpu": provenance.cpu,
        "cpus": lambda: len(os.sched_getaffinity(0)),
        "memory_mb": provenance.memory_mb,
        "gpus": partial(provenance.gpus, warn),
        "code": partial(provenance.code_version, Path(__file__).resolve().parent.parent),
    }


def warn_of_changes(states, warn):
    """Note which inputs are no longer what they were when the step started."""
    for path, before in states.items():
        try:
            changed = before is not None and state_of(path) != before
        except OSError as error:
            warn(f"{path}: gone since the step started ({error.strerror})")
        else:
            if changed:
                warn(f"{path}: changed while the step ran; its sum may be of before or after")


def write_sidecar(path, sidecar, warn):
    """Whether the sidecar could be written."""
    try:
        write_file(path, json.dumps(sidecar, indent=1) + "\n")
    except Exception as error:  # as above: the result stays
        warn(f"{path}: not written ({error}); the result is kept, verify_results.py will name it")
        return False
    return True


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", nargs="*", default=[], help="files that the step reads")
    parser.add_argument("--outputs", nargs="+", required=True, help="files that it writes")
    parser.add_argument("--temporary", nargs="*", default=[], help="those that are not kept")
    parser.add_argument("--code", help="sum of the step's code")
    parser.add_argument(
        "--then-remove",
        nargs="*",
        default=[],
        help="what the step keeps for a second attempt; removed when the sidecar is written",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="after --")
    chosen = parser.parse_args()
    command = chosen.command[1:] if chosen.command[:1] == ["--"] else chosen.command
    if not command:
        parser.error("no command after --")
    with user_errors():
        code = record(
            chosen.inputs,
            chosen.outputs,
            chosen.temporary,
            command,
            chosen.code,
            chosen.then_remove,
        )
    sys.exit(code)
