"""The nets that others start from: trained on ChestX-ray14 here, or CheXNet as Zech trained it."""


rule build_pretrained:
    input:
        start=lambda wildcards: start_of(config["pretrained"][wildcards.name]),
        env=environment("torch"),
    output:
        net="results/pretrained/{name}/initial.safetensors",
        sidecar=sidecar("results/pretrained/{name}/initial.safetensors"),
    log:
        "results/logs/pretrained/{name}/initial.safetensors.log",
    cache: CACHE
    priority: 20
    conda:
        CONDA_TORCH
    resources:
        mem_mb=growing(4000),
    params:
        **step("build_net"),
        settings=net_settings,
        start=start_option,
    message:
        "Building {wildcards.name}"
    shell:
        "{params.run} {params.settings} {params.start} --out {output.net} &> {log}"


rule pretrain_phase:
    input:
        images=ancient(archives()),
        sums=sums_of(archives()),
        tables=tables_of(archives()),
        split="results/data/chestxray14/split.csv",
        start=previous_checkpoint,
        env=environment("torch"),
    output:
        checkpoint="results/pretrained/{name}/phase{phase}/checkpoint.safetensors",
        history="results/pretrained/{name}/phase{phase}/history.csv",
        sidecar=sidecar("results/pretrained/{name}/phase{phase}/checkpoint.safetensors"),
    log:
        "results/logs/pretrained/{name}/phase{phase}/checkpoint.safetensors.log",
    cache: CACHE
    priority: 20
    conda:
        CONDA_TORCH
    threads: 1  # nets train side by side; more threads for one: --set-threads pretrain_phase=8
    resources:
        gpu=1,
        mem_mb=growing(12000),
        runtime=TRAINING_RUNTIME["pretrain_phase"],
    params:
        **step("train_phase", resumes=True),
        settings=phase_settings,
    message:
        "Training {wildcards.name} on ChestX-ray14, phase {wildcards.phase}"
    shell:
        "{params.run} --images {input.images} --tables {input.tables}"
        " --split {input.split}"
        " --start {input.start} {params.settings}"
        " --checkpoint {output.checkpoint} --history {output.history} &> {log}"


rule publish_pretrained:
    input:
        checkpoint=last_checkpoint,
        histories=lambda wildcards: phase_files(folder_of(wildcards), "history.csv"),
        env=environment("torch"),
    output:
        net="results/pretrained/{name}/model.safetensors",
        description="results/pretrained/{name}/model.json",
        history="results/pretrained/{name}/history.csv",
        sidecar=sidecar("results/pretrained/{name}/model.safetensors"),
    log:
        "results/logs/pretrained/{name}/model.safetensors.log",
    wildcard_constraints:
        name=one_of(TRAINED),
    cache: CACHE
    priority: 20
    conda:
        CONDA_TORCH
    params:
        **step("publish_pretrained"),
    message:
        "Publishing {wildcards.name}"
    shell:
        "{params.run} --checkpoint {input.checkpoint}"
        " --histories {input.histories} --out {output.net} --record {output.description}"
        " --history {output.history} &> {log}"


rule load_chexnet:
    input:
        checkpoint=lambda wildcards: "results/downloads/chexnet/{}".format(
            config["pretrained"][wildcards.name]["checkpoint"]
        ),
        env=environment("torch"),
    output:
        net="results/pretrained/{name}/model.safetensors",
        description="results/pretrained/{name}/model.json",
        sidecar=sidecar("results/pretrained/{name}/model.safetensors"),
    log:
        "results/logs/pretrained/{name}/model.safetensors.log",
    wildcard_constraints:
        name=one_of(LOADED),
    cache: CACHE
    priority: 20
    conda:
        CONDA_TORCH
    params:
        **step("load_chexnet"),
        settings=lambda wildcards: options(
            {
                "outputs": config["pretrained"][wildcards.name]["outputs"],
                "image_size": config["image_size"],
            }
        ),
    message:
        "Loading Zech's CheXNet"
    shell:
        "{params.run} --checkpoint {input.checkpoint} {params.settings}"
        " --out {output.net} --record {output.description} &> {log}"


rule predict_findings:
    input:
        net="results/pretrained/{name}/model.safetensors",
        images=ancient(archives()),
        sums=sums_of(archives()),
        tables=tables_of(archives()),
        split="results/data/chestxray14/split.csv",
        env=environment("torch"),
    output:
        "results/pretrained/{name}/logits.csv",
    log:
        "results/logs/pretrained/{name}/logits.csv.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        **step("predict_findings"),
    message:
        "Predicting ChestX-ray14's validation and test images with {wildcards.name}"
    shell:
        "{params.run} --net {input.net} --images {input.images} --tables {input.tables}"
        " --split {input.split} --out {output} &> {log}"


rule evaluate_findings:
    input:
        logits="results/pretrained/{name}/logits.csv",
        split="results/data/chestxray14/split.csv",
        env=environment("torch"),
    output:
        report(
            "results/pretrained/{name}/auroc.csv",
            category="2 Training",
            labels={"net": "{name}", "what": "AUROC on ChestX-ray14"},
            caption="../report/captions/auroc.rst",
        ),
    log:
        "results/logs/pretrained/{name}/auroc.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("evaluate_findings"),
        options=lambda wildcards: options(
            {
                "min_images": config["audits"]["min_images"],
                "min_mean_auroc": (
                    config["pretrained"][wildcards.name]["min_mean_auroc"]
                    if wildcards.name in LOADED
                    else None
                ),
            }
        ),
    message:
        "Evaluating {wildcards.name} on ChestX-ray14's test images"
    shell:
        "{params.run} --logits {input.logits} --split {input.split}"
        " {params.options} --out {output} &> {log}"
