"""Predictions of the test images after every phase, and what they are worth after the last."""


rule predict:
    input:
        checkpoints=lambda wildcards: phase_files(
            wildcards.net, "checkpoint.safetensors"
        ),
        edited=covid19_file("test_edited.npy"),
        edited_table=covid19_file("test_edited.csv"),
        unedited=covid19_file("test_unedited.npy"),
        unedited_table=covid19_file("test_unedited.csv"),
        val=ancient(covid19_file("val.npy")),
        val_sum=covid19_file("val.npy.sha256"),
        val_table=covid19_file("val.csv"),
        env=environment("torch"),
    output:
        predictions="results/{net}/predictions.csv",
        logits="results/{net}/last_logits.csv",
    log:
        "results/logs/{net}/predictions.csv.log",
    wildcard_constraints:
        net=ANY_NET,
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("predict"),
    message:
        "Predicting the test images with {wildcards.net}"
    shell:
        "{params.run} --checkpoints {input.checkpoints} --edited {input.edited} {input.edited_table}"
        " --unedited {input.unedited} {input.unedited_table}"
        " --val {input.val} {input.val_table} --out {output.predictions}"
        " --logits {output.logits} &> {log}"


rule evaluate:
    input:
        predictions="results/{net}/predictions.csv",
        env=environment("torch"),
    output:
        confusion="results/{net}/confusion.csv",
        metrics="results/{net}/metrics.csv",
        summary="results/{net}/summary.csv",
    log:
        "results/logs/{net}/confusion.csv.log",
    wildcard_constraints:
        net=ANY_NET,
    conda:
        CONDA_TORCH
    params:
        **step("evaluate"),
        options=options({"seed": config["seed"]}),
    message:
        "Evaluating {wildcards.net}"
    shell:
        "{params.run} --predictions {input.predictions} {params.options}"
        " --confusion {output.confusion} --metrics {output.metrics} --summary {output.summary}"
        " &> {log}"


rule evaluate_authors_nets:
    input:
        checkpoints=[
            f"results/downloads/authors_nets/{source['name']}"
            for source in config["sources"].get("authors_nets", [])
        ],
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        env=environment("torch"),
    output:
        "results/authors_nets/accuracies.csv",
    log:
        "results/logs/authors_nets/accuracies.csv.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("evaluate_authors_nets"),
    message:
        "Evaluating the nets released by the paper's authors"
    shell:
        "{params.run} --checkpoints {input.checkpoints} --images {input.images}"
        " --out {output} &> {log}"


rule calibrate:
    input:
        logits="results/{net}/last_logits.csv",
        env=environment("torch"),
    output:
        table="results/{net}/calibration.csv",
        figure=report(
            "results/figures/calibration_{net}.svg",
            category="3 Results",
            labels={"what": "Calibration of {net}"},
            caption="../report/captions/calibration.rst",
        ),
    log:
        "results/logs/{net}/calibration.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("calibrate"),
        options=options({"seed": config["seed"]}),
    message:
        "Calibrating {wildcards.net}"
    shell:
        "{params.run} --logits {input.logits} {params.options} --table {output.table}"
        " --figure {output.figure} &> {log}"
