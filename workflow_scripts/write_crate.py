"""Describe a run as an RO-Crate of the Provenance Run Crate profile, from its jobs' sidecars.

Start it in the folder that holds results/, which becomes the crate: results/ro-crate-metadata.json
(https://w3id.org/ro/wfrun/provenance) names the workflow and each job with its step, inputs and
outputs, and their sha256. Also writes jobs.csv: a row per job (output, step, started, seconds,
cpu_seconds, peak_memory_mb, host, gpu, slurm_job_id, commit, changed), and copies of the Snakefile
and of the configuration with all overlays applied.
"""

import json
import sys
from datetime import datetime, timedelta
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import quote

import pandas as pd
from cxr.cli import parser, user_errors
from cxr.files import write_file, write_table
from cxr.provenance import read_sidecars, step_of
from rocrate.model.contextentity import ContextEntity
from rocrate.model.file import File
from rocrate.rocrate import ROCrate

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": "Process Run Crate",
    "https://w3id.org/ro/wfrun/workflow/0.5": "Workflow Run Crate",
    "https://w3id.org/ro/wfrun/provenance/0.5": "Provenance Run Crate",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": "Workflow RO-Crate",
}
NAME = "COVID-19 detection on chest X-rays: a reproduction of Bassi & Attux 2020"
RESULTS = Path("results")


def write_crate(snakefile, config, snakemake_version, jobs, out_config, out_snakefile):
    sidecars, problems = read_sidecars()
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    sidecars.sort(key=lambda sidecar: sidecar["started"])
    write_table(jobs, pd.DataFrame([row_of(sidecar) for sidecar in sidecars]))
    write_file(out_config, json.dumps(config, indent=1) + "\n")
    write_file(out_snakefile, snakefile.read_bytes())

    crate = ROCrate(version="1.1")
    crate.name = NAME
    crate.description = "Results of a run, with every job that made them."
    crate.license = "See README.md of the workflow: data, weights and code have their own licences."
    crate.root_dataset["conformsTo"] = [
        crate.add(
            ContextEntity(
                crate,
                profile,
                {"@type": "CreativeWork", "name": name, "version": profile.rpartition("/")[2]},
            )
        )
        for profile, name in PROFILES.items()
    ]
    crate.metadata.extra_contexts.append(
        {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"}
    )
    files = Files(crate, {path for sidecar in sidecars for path in sidecar["temporary"]})
    workflow = add_workflow(crate, out_snakefile)
    steps = add_steps(crate, workflow, sidecars)
    actions = [add_action(crate, files, sidecar, steps) for sidecar in sidecars]
    add_run(crate, files, workflow, sidecars, actions, steps, out_config, snakemake_version)
    for path in (jobs, out_config):
        files.add(str(path), None)
    crate.metadata.write(RESULTS)


def row_of(sidecar):
    """A job as a row of jobs.csv."""
    machine, code = sidecar["machine"], sidecar["code"]
    return {
        "output": next(iter(sidecar["outputs"])),
        "step": Path(step_of(sidecar)).stem,
        "started": sidecar["started"],
        "seconds": sidecar["seconds"],
        "cpu_seconds": sidecar.get("cpu_seconds"),
        "peak_memory_mb": sidecar.get("peak_memory_mb"),
        "host": machine.get("host"),
        "gpu": ", ".join(str(gpu.get("name")) for gpu in machine.get("gpus") or []),
        "slurm_job_id": sidecar.get("slurm_job_id"),
        "commit": code.get("commit"),
        "changed": code.get("changed"),
    }


class Files:
    """The crate's files, each added once; temporary ones are named, but no part of it."""

    def __init__(self, crate, temporary):
        self.crate, self.temporary, self.known = crate, temporary, {}

    def add(self, path, digest):
        """The entity of a file: part of the crate below results/, else named with its sha256."""
        if path not in self.known:
            properties = {"name": Path(path).name} | ({"sha256": digest} if digest else {})
            inside = path.removeprefix("results/")
            if inside == path or path in self.temporary:
                properties |= {"@type": "CreativeWork", "alternateName": path}
                entity = ContextEntity(self.crate, f"#{quote(path)}", properties)
            elif Path(path).is_dir():
                properties["@type"] = "Dataset"
                entity = ContextEntity(self.crate, f"{quote(inside)}/", properties)
            else:
                properties["encodingFormat"] = guess_type(path)[0] or "application/octet-stream"
                entity = File(self.crate, None, inside, properties=properties)
            self.known[path] = self.crate.add(entity)
            if entity.type == "Dataset":
                self.crate.root_dataset.append_to("hasPart", entity)
        return self.known[path]


def add_workflow(crate, snakefile):
    language = crate.add(
        ContextEntity(
            crate,
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            {
                "@type": "ComputerLanguage",
                "name": "Snakemake",
                "identifier": {"@id": "https://doi.org/10.12688/f1000research.29032.2"},
                "url": {"@id": "https://snakemake.readthedocs.io"},
            },
        )
    )
    properties = {
        "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
        "name": NAME,
        "programmingLanguage": language,
    }
    place = str(snakefile.relative_to(RESULTS))
    workflow = crate.add(ContextEntity(crate, place, properties))
    crate.root_dataset.append_to("hasPart", workflow)
    crate.mainEntity = workflow
    return workflow


def add_steps(crate, workflow, sidecars):
    """{script: (its tool, its step)}, a tool and a step for each script that ran."""
    steps = {}
    for position, name in enumerate(dict.fromkeys(Path(step_of(s)).name for s in sidecars)):
        version = next(s["code"].get("commit") for s in sidecars if Path(step_of(s)).name == name)
        properties = {
            "@type": "SoftwareApplication",
            "name": name,
            "softwareVersion": version or "unknown",
        }
        tool = crate.add(ContextEntity(crate, f"#tool-{name}", properties))
        step = crate.add(
            ContextEntity(
                crate,
                f"#step-{name}",
                {"@type": "HowToStep", "position": str(position), "workExample": tool},
            )
        )
        workflow.append_to("hasPart", tool)
        workflow.append_to("step", step)
        steps[name] = tool, step
    return steps


def add_action(crate, files, sidecar, steps):
    """The action that one job was."""
    first = next(iter(sidecar["outputs"]))
    tool, _ = steps[Path(step_of(sidecar)).name]
    started = datetime.fromisoformat(sidecar["started"])
    ended = started + timedelta(seconds=round(sidecar["seconds"]))
    machine, code = sidecar["machine"], sidecar["code"]
    properties = {
        "@type": "CreateAction",
        "name": f"{Path(step_of(sidecar)).stem}: {first}",
        "description": f"{' '.join(sidecar['command'])} on {machine.get('host')} "
        f"({machine.get('cpu')}), commit {code.get('commit') or 'unknown'}"
        f"{' with changes' if code.get('changed') else ''}",
        "instrument": tool,
        "startTime": sidecar["started"],
        "endTime": ended.isoformat(),
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "object": [files.add(path, digest) for path, digest in sidecar["inputs"].items()],
        "result": [
            files.add(path, digest)
            for path, digest in sidecar["outputs"].items()
            if path not in sidecar["temporary"]
        ],
    }
    return crate.add(ContextEntity(crate, f"#job-{quote(first)}", properties))


def add_run(crate, files, workflow, sidecars, actions, steps, config, version):
    """The run as a whole, and that Snakemake organised it."""
    times = {
        "startTime": actions[0]["startTime"],
        "endTime": max(action["endTime"] for action in actions),
    }
    sources, kept = inputs_and_results(sidecars)
    inputs = [files.add(path, digest) for path, digest in sources.items()]
    properties = {
        "@type": "CreateAction",
        "name": "Run of the workflow",
        "instrument": workflow,
        "actionStatus": "http://schema.org/CompletedActionStatus",
        "object": [files.add(str(config), None), *inputs],
        "result": [files.add(path, digest) for path, digest in kept.items()],
    }
    run = crate.add(ContextEntity(crate, "#run", properties | times))
    crate.root_dataset.append_to("mentions", run)
    engine = {"@type": "SoftwareApplication", "name": "Snakemake", "softwareVersion": version}
    properties = {
        "@type": "OrganizeAction",
        "name": "Run of Snakemake",
        "instrument": crate.add(ContextEntity(crate, "#snakemake", engine)),
        "object": add_controls(crate, sidecars, actions, steps),
        "result": run,
    }
    crate.add(ContextEntity(crate, "#organisation", properties | times))


def inputs_and_results(sidecars):
    """{path: sha256} of what no job made, and of the results that are kept."""
    made = {path for sidecar in sidecars for path in sidecar["outputs"]}
    sources, kept = {}, {}
    for sidecar in sidecars:
        sources |= {path: sha for path, sha in sidecar["inputs"].items() if path not in made}
        for path, sha in sidecar["outputs"].items():
            if path not in sidecar["temporary"] and path.startswith("results/"):
                kept[path] = sha
    return sources, kept


def add_controls(crate, sidecars, actions, steps):
    """That Snakemake started each job."""
    controls = []
    for number, (sidecar, action) in enumerate(zip(sidecars, actions, strict=True)):
        properties = {
            "@type": "ControlAction",
            "name": f"Snakemake starts {action['name']}",
            "instrument": steps[Path(step_of(sidecar)).name][1],
            "object": action,
        }
        controls.append(crate.add(ContextEntity(crate, f"#control-{number}", properties)))
    return controls


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--snakefile", type=Path, required=True)
    arguments.add_argument("--config", type=json.loads, required=True, help="JSON")
    arguments.add_argument("--snakemake-version", required=True)
    arguments.add_argument("--jobs", type=Path, required=True, help="CSV to write")
    arguments.add_argument("--out-config", type=Path, required=True, help="JSON to write")
    arguments.add_argument("--out-snakefile", type=Path, required=True, help="copy to write")
    with user_errors():
        write_crate(**vars(arguments.parse_args()))
