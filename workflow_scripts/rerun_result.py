"""Reproduce results in an empty folder, and compare every file with the recorded one.

Start it in the folder that holds results/. The jobs that made the given results (default: every
job) run again below --folder, one at a time, by the recorded commands, from the sources or from a
level on. A job runs with this workflow's code if that is the recorded code, else with the recorded
commit's, where git has it. Sources, and the files that a level starts from, must have their
recorded checksums. An interrupted rerun resumes with the same command.

Each file gets a verdict: same bytes; within tolerance (config.yaml: rerun.tolerances); differs,
with the first difference; or not compared, where its bytes differ and the recorded file is missing.
All are in FOLDER/LEVEL/verdicts.csv. The exit code is 0 if no file differs and the given results
were compared. On another processor rounding differs, and training amplifies that: compare --from
weights there.
"""

import argparse
import signal
import sys
from pathlib import Path

import pandas as pd
import yaml
from cxr import provenance
from cxr.chains import LEVELS, chain_of, code_in_words, duration, name_of, steps_before
from cxr.checksums import files_of, sha256_of
from cxr.cli import InputError, pair, parser, user_errors
from cxr.comparison import difference, kind_of
from cxr.files import write_table
from cxr.provenance import read_sidecars
from cxr.sandbox import Sandbox

HERE = Path(__file__).resolve().parent.parent
SAME, WITHIN, OTHER, DIFFERS = "same bytes", "within tolerance", "not compared", "differs"


def rerun_result(results, level, folder, tolerances, workflow=HERE, dry_run=False):
    """Whether no file differs."""
    sidecars, problems = read_sidecars()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    results = results or sorted(path for sidecar in sidecars for path in sidecar["outputs"])
    jobs = chain_of(results, sidecars, steps_before(level))
    if not jobs:
        raise InputError(f"{results[0]}: {level} already has it; choose an earlier level, or none")
    sandbox = Sandbox(folder / (level or "sources"), jobs, workflow)
    say_plan(jobs, sandbox)
    if dry_run:
        return True
    for path in sandbox.link_sources():
        print(f"warning: {path} is not what the recorded jobs read", file=sys.stderr)
    for number, job in enumerate(jobs, start=1):
        if name_of(job) not in sandbox.done:
            print(
                f"job {number} of {len(jobs)}, {job['seconds']:.0f} s: {name_of(job)}", flush=True
            )
            sandbox.run(job)
    verdicts = compare(jobs, sandbox, tolerances)
    write_table(sandbox.folder / "verdicts.csv", verdicts)
    say_verdicts(verdicts, results, jobs, sandbox)
    failed = verdicts.verdict.eq(DIFFERS)
    failed |= verdicts.verdict.eq(OTHER) & verdicts.output.isin(results)
    return not failed.any()


def say_plan(jobs, sandbox):
    to_run = [job for job in jobs if name_of(job) not in sandbox.done]
    print(
        f"{len(to_run)} of {len(jobs)} jobs to run in {sandbox.root}, one after the other: "
        f"{duration(to_run)} by the recorded seconds\nrecorded code: {code_in_words(jobs)}"
    )
    others = [name_of(job) for job in jobs if sandbox.differs_in_code(job)]
    if others:
        print(
            f"warning: the code of {len(others)} jobs is neither this workflow's nor in its git; "
            f"they run with this workflow's, and may differ: {', '.join(others[:3])} ...",
            file=sys.stderr,
        )
    recorded = {machine_of(job["machine"]) for job in jobs}
    here = machine_of({"cpu": provenance.cpu(), "gpus": provenance.gpus(lambda _: None)})
    print(f"recorded on: {'; '.join(sorted(recorded))}")
    if recorded != {here}:
        print(
            f"this machine differs, {here}: bits may differ, so files are compared by tolerance;\n"
            "training amplifies such differences, so that nets trained here may be others: --from "
            "weights starts from the recorded ones"
        )


def machine_of(machine):
    """What of a machine decides bits, in words."""
    gpus = ", ".join(str(gpu.get("name")) for gpu in machine.get("gpus") or []) or "no GPU"
    return f"{machine.get('cpu')}, {gpus}"


def compare(jobs, sandbox, tolerances):
    """Table of all files that jobs made, those in folders, too.

    Columns: output (of a job), file, kind, verdict, difference, tolerance, first.
    """
    rows = []
    for job in jobs:
        made = sandbox.done[name_of(job)]["outputs"]
        for output, digest in job["outputs"].items():
            same = digest is not None and made[output] == digest
            kept = not same and Path(output).exists() and sha256_of(output) == digest
            made_here = sandbox.root / output
            for path in names_in(output, made_here, kept) if same or kept else [output]:
                kind = kind_of(path)
                row = {"output": output, "file": path, "kind": kind, "verdict": SAME}
                row |= {"difference": 0.0, "tolerance": tolerances[kind], "first": ""}
                if not same:
                    python = sandbox.python_of(job)
                    row |= look_closer(Path(path), sandbox.root / path, row, kept, python)
                rows.append(row)
    return pd.DataFrame(rows)


def names_in(output, made, kept):
    """Paths of an output's files, recorded (if kept) or reproduced; of a folder, those in it."""
    if not made.is_dir():
        return [output]
    folders = [made, output] if kept else [made]
    return sorted(
        {
            f"{output}/{file.relative_to(folder).as_posix()}"
            for folder in folders
            for file in files_of(folder)
        }
    )


def look_closer(path, made, row, kept, python):
    """Verdict on a file whose bytes, or whose folder's, differ from the recorded ones."""
    if not kept:
        first = "other bytes; the recorded file is not here, or has changed"
        return {"verdict": OTHER, "difference": float("nan"), "first": first}
    if not path.exists() or not made.exists():
        first = "was not made again" if path.exists() else "was not there"
        return {"verdict": DIFFERS, "difference": float("nan"), "first": first}
    if sha256_of(path) == sha256_of(made):
        return {}
    size, first = difference(path, made, row["kind"], python)
    within = size <= row["tolerance"]
    return {"verdict": WITHIN if within else DIFFERS, "difference": size, "first": first}


def say_verdicts(verdicts, results, jobs, sandbox):
    """Print each file that is no longer the same, the results asked for, and a summary."""
    asked = verdicts.output.isin(results) & (len(results) < verdicts.output.nunique())
    for row in verdicts[verdicts.verdict.ne(SAME) | asked].itertuples():
        size = f"  {row.difference:.2g} of {row.tolerance:g} allowed" if row.difference > 0 else ""
        print(f"{row.verdict:<16}  {row.file}{size}{f'  ({row.first})' if row.first else ''}")
    made = [sandbox.done[name_of(job)] for job in jobs]
    if changed := changed_packages(jobs, made):
        print(f"packages differ: {', '.join(changed[:5])}{' ...' if len(changed) > 5 else ''}")
    counts = verdicts.verdict.value_counts()
    same = counts.get(SAME, 0)
    others = ", ".join(
        f"{counts[name]} {name}" for name in (WITHIN, OTHER, DIFFERS) if name in counts
    )
    print(
        f"{same} of {len(verdicts)} files have the same bytes ({same / len(verdicts):.1%})"
        f"{'; ' + others if others else ''}: {sandbox.folder / 'verdicts.csv'}"
    )


def changed_packages(jobs, made):
    """Packages that differ between two runs of jobs, in words."""
    found = set()
    for job, new in zip(jobs, made, strict=True):
        old, new = job.get("packages") or {}, new.get("packages") or {}
        found |= {
            f"{name} {old.get(name)} -> {new.get(name)}"
            for name in old.keys() | new.keys()
            if old.get(name) != new.get(name)
        }
    return sorted(found)


def configured_tolerances():
    return yaml.safe_load((HERE / "config.yaml").read_text())["rerun"]["tolerances"]


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "results", nargs="*", help="files such as results/tables/table3.csv; default: all"
    )
    arguments.add_argument(
        "--from",
        dest="level",
        choices=LEVELS,
        help="start from the recorded data, weights or predictions; default: from the sources",
    )
    arguments.add_argument("--folder", type=Path, default=Path("rerun"), help="default: rerun")
    arguments.add_argument(
        "--tolerances", type=pair(float), nargs="+", default=[], metavar="KIND=NUMBER"
    )
    arguments.add_argument("--workflow", type=Path, default=HERE, help=argparse.SUPPRESS)
    arguments.add_argument(
        "--dry-run", action="store_true", help="only print the plan and its duration"
    )
    chosen = arguments.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with user_errors():
        known = configured_tolerances()
        given = dict(chosen.tolerances)
        if unknown := given.keys() - known.keys():
            raise InputError(f"--tolerances: {min(unknown)}: expected one of {', '.join(known)}")
        try:
            same = rerun_result(
                chosen.results,
                chosen.level,
                chosen.folder,
                known | given,
                chosen.workflow,
                chosen.dry_run,
            )
        except KeyboardInterrupt:
            print("stopped; the same command resumes", file=sys.stderr)
            sys.exit(130)
    sys.exit(not same)
