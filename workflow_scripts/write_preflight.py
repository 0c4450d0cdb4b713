"""Say whether a study will run on a machine, and how long it takes: preflight.md and .csv.

Takes what check_machine and check_sources wrote. --trainings are those of the study, with their
numbers of images; the hours follow from the measured rates and are upper bounds where early
stopping may end a training. A validation image is counted as a third of a training image, and an
image of a frozen phase likewise, once.

The CSV has a row per statement: part, what, found, problem (empty where there is none).
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.contents import read_json
from cxr.files import write_file, write_table
from cxr.tables import read_table

FORWARD = 1 / 3  # of a training image's time, for one that is only predicted
PART = {"found": "What this machine has", "sources": "Sources", "trust": "Trust", "speed": "Speed"}
KEYS = ["found", "trust", "speed", "shared"]


def write_preflight(machine, sources, trainings, need_gb, out, out_table):
    checked = read_json(machine, KEYS, "what check_machine writes")
    rows = [("found", what, value, "") for what, value in checked["found"].items()]
    rows += [("found", *row) for row in around(need_gb)]
    of_sources = read_table(sources, text=["found", "problem", "where"], empty=True)
    rows += [("sources", row.source, row.found, row.problem) for row in of_sources.itertuples()]
    for what, answer in checked["trust"].items():
        wrong = "results can't be trusted here" if answer.startswith("no:") else ""
        rows.append(("trust", what, answer, wrong))
    rows += speed_rows(checked, trainings)
    table = pd.DataFrame(rows, columns=["part", "what", "found", "problem"])
    write_table(out_table, table)
    write_file(out, text := as_markdown(table))
    print(text)


def around(need_gb):
    """What is there where Snakemake runs: SLURM, the file system of results and its free space."""
    if sinfo := shutil.which("sinfo"):
        said = subprocess.run([sinfo, "--version"], capture_output=True, text=True).stdout
        yield "SLURM", said.strip() or "does not answer", "" if said else "is it down?"
    kind = subprocess.run(["stat", "-f", "-c", "%T", "."], capture_output=True, text=True).stdout
    free = shutil.disk_usage(os.curdir).free / 1e9
    problem = "too little" if free < need_gb else ""
    yield "file system of results", kind.strip(), ""
    yield "free space", f"{free:.0f} GB; the study takes {need_gb:.0f} GB", problem


def speed_rows(checked, trainings):
    """Rates and memory by net, and hours beside what rules ask for."""
    fastest = {}
    for net in checked["speed"]:
        name = f"{net.pop('architecture')}, batches of {net.pop('batch_size')}"
        memory = net.pop("memory_gb")
        rates = ", ".join(f"{way} {rate:g} images/s" for way, rate in net.items())
        yield "speed", name, f"{rates}; {memory:g} GB", ""
        fastest[name] = net.get("graph", net["eager"])  # of those that the paper's fp32 allows
    for n, rate in checked["shared"].items():
        yield "speed", f"{n} processes on the GPU", f"{rate:g} images/s in all", ""
    total, longest = 0, {}
    for training in trainings:
        rate = fastest[f"{training['architecture']}, batches of {training['batch_size']}"]
        hours = passes(training) / rate / 3600
        total += hours
        longest[training["rule"]] = max(hours, longest.get(training["rule"], 0))
        takes = f"{readable(hours)} h for {training['train']:,} images"
        yield "speed", training["name"], takes, ""
    yield "speed", "all trainings, one after another", f"{readable(total)} h", ""
    asked = {training["rule"]: training["runtime"] / 60 for training in trainings}
    for rule, hours in longest.items():
        found = (
            f"asks for {readable(asked[rule])} h; the longest training takes {readable(hours)} h"
        )
        advice = f"put under set-resources: {rule}: {{runtime: {int(1.5 * hours * 60)}}}"
        yield "speed", rule, found, advice if hours > asked[rule] else ""


def readable(hours):
    """A number of hours: two digits, or more where it is large."""
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"


def passes(training):
    """Training images, or what takes as long, of all epochs."""
    if training["trainable"] == "output_layer":  # its features are computed once
        return FORWARD * (training["train"] * (2 if training["flip"] else 1) + training["val"])
    return training["epochs"] * (training["train"] + FORWARD * training["val"])


def as_markdown(table):
    """The parts with their rows; problems first."""
    problems = table[table.problem != ""]
    lines = ["# Preflight", ""]
    lines += [
        f"- **{row.what}**: {'; '.join(filter(None, (row.found, row.problem)))}"
        for row in problems.itertuples()
    ]
    lines += [] if len(problems) else ["No problem was found."]
    for part, title in PART.items():
        lines += ["", f"## {title}", "", "| what | found |", "| --- | --- |"]
        rows = table[table.part == part].itertuples()
        lines += [f"| {row.what} | {row.found or row.problem} |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--machine", type=Path, required=True, help="JSON of check_machine")
    arguments.add_argument("--sources", type=Path, required=True, help="CSV of check_sources")
    arguments.add_argument(
        "--trainings", type=json.loads, required=True, help="JSON: a list of trainings"
    )
    arguments.add_argument("--need-gb", type=float, required=True, help="space of the whole study")
    arguments.add_argument("--out", type=Path, required=True, help="Markdown to write")
    arguments.add_argument("--out-table", type=Path, required=True, help="CSV to write")
    with user_errors():
        write_preflight(**vars(arguments.parse_args()))
