"""Replicates: the nets over other splits and seeds, and how much of a score is due to which."""

# What only training needs is not kept: checkpoints and variants of 10 x 10 replicates would take
# 150 GB.


use rule augment as augment_replicate with:
    output:
        images=temp("results/data/{covid19}/augmented/{split}.npy"),
        sum="results/data/{covid19}/augmented/{split}.npy.sha256",
        table="results/data/{covid19}/augmented/{split}.csv",
    wildcard_constraints:
        covid19=REPLICATE_SPLIT,
    cache: False
    params:
        **step("augment", temporary=["images"]),
        options=augmentation_settings,


use rule build_net as build_replicate with:
    output:
        net=temp("results/{net}/initial.safetensors"),
    wildcard_constraints:
        net=REPLICATE,
    params:
        **step("build_net", temporary=["net"]),
        settings=net_settings,
        start=start_option,


use rule train_phase as train_replicate with:
    output:
        checkpoint=temp("results/{net}/phase{phase}/checkpoint.safetensors"),
        history="results/{net}/phase{phase}/history.csv",
    wildcard_constraints:
        net=REPLICATE,
    params:
        **step("train_phase", temporary=["checkpoint"], resumes=True),
        settings=phase_settings,


rule collect_replicates:
    input:
        lambda wildcards: replicate_files("predictions.csv"),
        env=environment("torch"),
    output:
        replicates="results/replicates/replicates.csv",
        summary=report(
            "results/replicates/summary.csv",
            category="3 Results",
            labels={"what": "Replicates"},
            caption="../report/captions/replicates.rst",
        ),
        variance=report(
            "results/replicates/variance.csv",
            category="3 Results",
            labels={"what": "Replicates: variance components"},
            caption="../report/captions/replicates.rst",
        ),
        figure=report(
            "results/figures/replicates.svg",
            category="3 Results",
            labels={"what": "Replicates: figure"},
            caption="../report/captions/replicates.rst",
        ),
    log:
        "results/logs/replicates/replicates.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("collect_replicates", inputs=replicate_files_in_shell("predictions.csv")),
        folder=subpath(output.summary, parent=True),
        options=options(
            {
                "nets": list(config["nets"]),
                "replicates": config["replicates"],
                "draw_seed": config["seed"],
            }
        ),
    message:
        "Analysing replicates"
    shell:
        "{params.run} {params.options} --folder {params.folder}"
        " --figure {output.figure} &> {log}"
