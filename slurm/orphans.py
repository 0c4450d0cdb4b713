#!/usr/bin/env python3
"""SLURM jobs that a killed snakemake left behind: list them, wait for them, or cancel them.

Where snakemake is killed (SIGKILL, a reboot of the login node), its jobs run on. A new snakemake
doesn't know them and would submit them again, beside the first. Run this in the folder that it
worked in, before you start it again:

    python slurm/orphans.py            what there is
    python slurm/orphans.py --wait     waits until they have ended; what they made is kept
    python slurm/orphans.py --cancel   cancels them; trainings will resume

and then `snakemake --unlock`. Where a snakemake still runs, the jobs are its own.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path


def jobs_of(folder):
    """[(SLURM job, state, what it is for)] of a folder's jobs that haven't ended."""
    # The name of a job is a UUID, the same for all of a snakemake; the comment names rule and
    # wildcards.
    # A comment may hold any character, so it comes last.
    command = ["squeue", "--me", "--noheader", "--format=%A|%T|%Z|%k"]
    try:
        done = subprocess.run(command, text=True, capture_output=True, errors="replace")
    except OSError as error:
        sys.exit(f"error: squeue: {error.strerror}; run this where SLURM's commands are on PATH")
    if done.returncode:
        sys.exit(f"error: squeue: {done.stderr.strip()}")
    rows = [line.split("|", 3) for line in done.stdout.splitlines()]
    return [
        (job, state, comment)
        for job, state, place, comment in (row for row in rows if len(row) == 4)
        if Path(place).resolve() == folder
    ]


def main(wait, cancel):
    folder = Path.cwd().resolve()
    jobs = jobs_of(folder)
    for job in jobs:
        print(*job)
    if not jobs:
        print(f"no job of {folder} is queued or runs")
    if cancel and jobs:
        subprocess.run(["scancel", *(job for job, *_ in jobs)], check=True)
    while (wait or cancel) and jobs:
        print(f"waiting for {len(jobs)} jobs", flush=True)
        time.sleep(10)
        jobs = jobs_of(folder)
    if wait or cancel:
        print("now: snakemake --unlock, and start it again")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--wait", action="store_true")
    choice.add_argument("--cancel", action="store_true")
    main(**vars(parser.parse_args()))
