"""Where the lungs are: found by a net that is trained on drawn masks, or drawn."""


rule train_lungs:
    input:
        masks=lambda wildcards: lung_inputs(
            [masks for masks, _ in lung_sources().values()]
        ),
        images=lambda wildcards: lung_inputs(
            [images for _, images in lung_sources().values()]
        ),
        patients="results/data/covid19/metadata.csv",
        env=environment("torch"),
    output:
        net="results/lungs/net.safetensors",
        pairs="results/lungs/pairs.csv",
        dice=report(
            "results/lungs/dice.csv",
            category="5 Audits",
            labels={"audit": "lungs", "what": "Dice of the net that finds them"},
            caption="../report/captions/lungs.rst",
        ),
        sheet=report(
            "results/figures/lungs.jpg",
            category="5 Audits",
            labels={"audit": "lungs", "what": "The worst masks"},
            caption="../report/captions/lungs.rst",
        ),
    log:
        "results/logs/lungs/net.safetensors.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(4000),
    params:
        **step("train_lungs"),
        options=lambda wildcards: options(
            {
                "masks": {name: both[0] for name, both in lung_sources().items()},
                "images": {name: both[1] for name, both in lung_sources().items()},
                "seed": config["seed"],
                "candidates": config["covid19"]["duplicates"]["candidates"],
                "correlation": config["covid19"]["duplicates"]["correlation"],
            }
            | config["lungs"]["net"]
        ),
    message:
        "Training a net that finds lungs"
    shell:
        "{params.run} {params.options} --patients {input.patients} --net {output.net}"
        " --pairs {output.pairs} --dice {output.dice} --sheet {output.sheet} &> {log}"


rule find_lungs:
    input:
        files=lambda wildcards: files_of(lung_images()),
        by=lambda wildcards: lung_inputs(lung_finder().values()),
        env=environment("torch"),
    output:
        lungs=f"{COVID19}/lungs.npz",
        table=f"{COVID19}/lungs.csv",
    log:
        "results/logs/data/covid19/lungs.npz.log",
    conda:
        CONDA_TORCH
    resources:
        mem_mb=growing(2000),
    params:
        **step("find_lungs"),
        options=lambda wildcards: options(lung_images() | lung_finder()),
    message:
        "Finding lungs in the COVID-19 images"
    shell:
        "{params.run} {params.options} --out {output.lungs} {output.table} &> {log}"
