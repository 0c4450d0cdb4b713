"""Five minutes that tell whether a study will run on a machine, and how long it takes."""


localrules:
    preflight,
    check_sources,
    write_preflight,


FOLDER = "results/preflight"
LOCK = f"{FOLDER}/lock"
NOW = str(time.time())  # a parameter that is always new: preflight is about today


rule preflight:
    input:
        "results/preflight.md",
        "results/preflight.csv",


rule check_machine:
    input:
        env=environment("torch"),
    output:
        f"{FOLDER}/machine.json",
    log:
        "results/logs/preflight/machine.json.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("check_machine"),
        now=NOW,
        nets=lambda wildcards: as_json(nets_by_speed()),
        settings=as_json(trust_settings()),
        size=config["image_size"],
        hold=options({"hold": LOCK}),
    message:
        "Checking the machine that nets are trained on"
    shell:
        "{params.run} --nets {params.nets} --settings {params.settings} --size {params.size}"
        " {params.hold} --out {output} &> {log}"


rule check_sources:
    input:
        env=environment("torch"),
    output:
        f"{FOLDER}/sources.csv",
    log:
        "results/logs/preflight/sources.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("check_sources"),
        now=NOW,
        sources=as_json(all_sources()),
        # Where jobs run elsewhere; the executor isn't known yet when this file is read.
        lock=lambda wildcards: options({"lock": None if workflow.local_exec else LOCK}),
    message:
        "Checking the sources"
    shell:
        "{params.run} --sources {params.sources} {params.lock} --out {output} &> {log}"


rule write_preflight:
    input:
        machine=f"{FOLDER}/machine.json",
        sources=f"{FOLDER}/sources.csv",
        env=environment("torch"),
    output:
        text="results/preflight.md",
        table="results/preflight.csv",
    log:
        "results/logs/preflight/preflight.md.log",
    conda:
        CONDA_TORCH
    params:
        **step("write_preflight"),
        trainings=lambda wildcards: as_json(trainings()),
        need_gb=lambda wildcards: needed_gb(),
    message:
        "Writing results/preflight.md"
    shell:
        "{params.run} --machine {input.machine} --sources {input.sources}"
        " --trainings {params.trainings} --need-gb {params.need_gb} --out {output.text}"
        " --out-table {output.table} 2>&1 | tee {log}"
