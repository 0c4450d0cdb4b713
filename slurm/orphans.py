#!/usr/bin/env python3
"""SLURM jobs that a killed snakemake left behind: list them, wait for them, or cancel them.

Where snakemake is killed (SIGKILL, a reboot of the login node), its jobs run on. A new snakemake
doesn't know them and would submit them again, beside the first. Run this in the folder that it
worked in, before you start it again:

    python slurm/orphans.py            what there is
    python slurm/orphans.py --wait     waits until they have ended and keeps what completed
    python slurm/orphans.py --cancel   cancels them; trainings will go on where they are

and then `snakemake --unlock`. Where a snakemake still runs, the jobs are its own.
"""

import argparse
import base64
import json
import subprocess
import sys
import time
from pathlib import Path

INCOMPLETE = Path(".snakemake/incomplete")
UNFINISHED = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "COMPLETING", "REQUEUED"}


def unfinished_outputs():
    """{SLURM job: markers of the outputs that snakemake waited for when it was killed}."""
    jobs = {}
    for marker in INCOMPLETE.rglob("*"):
        if marker.is_file() and (job := json.loads(marker.read_text()).get("external_jobid")):
            jobs.setdefault(job, []).append(marker)
    return jobs


def output_of(marker):
    """The path that a marker stands for; its own is that in base64, in parts where it is long."""
    parts = marker.relative_to(INCOMPLETE).parts
    encoded = "".join(part.removeprefix("@") for part in parts)
    return base64.urlsafe_b64decode(encoded).decode()


def states_of(jobs):
    """{SLURM job: its state}, of those that the accounting knows."""
    command = ["sacct", "--noheader", "--parsable2", "--allocations", "--format=JobID,State"]
    done = subprocess.run([*command, f"--jobs={','.join(jobs)}"], text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"error: sacct: {done.stderr.strip()}")
    lines = (line.split("|") for line in done.stdout.splitlines())
    return {job: state.split()[0] for job, state in lines}


def main(wait, cancel):
    jobs = unfinished_outputs()
    if not jobs:
        print(f"no unfinished job is noted in {INCOMPLETE.resolve()}")
        return
    states = states_of(jobs)
    for job, markers in jobs.items():
        print(job, states.get(job, "UNKNOWN"), *map(output_of, markers))
    if cancel:
        subprocess.run(["scancel", *(job for job in jobs if states.get(job) in UNFINISHED)])
    while (wait or cancel) and (running := [job for job in jobs if states.get(job) in UNFINISHED]):
        print(f"waiting for {len(running)} jobs", flush=True)
        time.sleep(10)
        states = states_of(jobs)
    if wait or cancel:
        complete = [job for job in jobs if states.get(job) == "COMPLETED"]
        for marker in (marker for job in complete for marker in jobs[job]):
            print(f"complete: {output_of(marker)}")
            marker.unlink()  # what snakemake itself does when a job ends well
        print("now: snakemake --unlock, and start it again")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--wait", action="store_true")
    choice.add_argument("--cancel", action="store_true")
    main(**vars(parser.parse_args()))
