"""What the paper leaves open: a net trained again with other settings, and what it does to scores."""


# As of the study's own.
localrules:
    prepare_assumption,
    augment_assumption,
    build_assumption,
    collect_assumptions,


use rule prepare_covid19 as prepare_assumption with:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        split="results/data/covid19/split.csv",
        text_boxes=assumption_boxes,
        env=environment("torch"),
    output:
        train=temp("results/data/{net}/train.npy"),
        train_sum="results/data/{net}/train.npy.sha256",
        train_table="results/data/{net}/train.csv",
        val=temp("results/data/{net}/val.npy"),
        val_sum="results/data/{net}/val.npy.sha256",
        val_table="results/data/{net}/val.csv",
        test_unedited="results/data/{net}/test_unedited.npy",
        test_unedited_table="results/data/{net}/test_unedited.csv",
        test_edited="results/data/{net}/test_edited.npy",
        test_edited_table="results/data/{net}/test_edited.csv",
        text_boxes="results/data/{net}/text_boxes.csv",
    log:
        "results/logs/data/{net}/train.npy.log",
    wildcard_constraints:
        net=ASSUMPTION,
    params:
        **step("prepare_covid19", temporary=["train", "val"]),
        size=options({"size": config["image_size"]}),
        text_boxes=lambda wildcards, input: options(
            {"text_boxes": input.get("text_boxes") or None}
        ),
    message:
        "Reading the COVID-19 images, covering words in test images ({wildcards.net})"


use rule augment as augment_assumption with:
    input:
        images=ancient("results/data/covid19/{split}.npy"),
        sum="results/data/covid19/{split}.npy.sha256",
        table="results/data/covid19/{split}.csv",
        env=environment("torch"),
    output:
        images=temp("results/data/{net}/augmented/{split}.npy"),
        sum="results/data/{net}/augmented/{split}.npy.sha256",
        table="results/data/{net}/augmented/{split}.csv",
    log:
        "results/logs/data/{net}/augmented/{split}.npy.log",
    wildcard_constraints:
        net=ASSUMPTION,
    cache: False
    params:
        **step("augment", temporary=["images"]),
        options=augmentation_settings,
    message:
        "Augmenting the {wildcards.split} images ({wildcards.net})"


use rule build_replicate as build_assumption with:
    wildcard_constraints:
        net=ASSUMPTION,


use rule train_replicate as train_assumption with:
    wildcard_constraints:
        net=ASSUMPTION,


rule collect_assumptions:
    input:
        predictions=lambda wildcards: assumption_files("predictions.csv"),
        logits=lambda wildcards: assumption_files("last_logits.csv"),
        replicates=("results/replicates/replicates.csv" if config["replicates"] else []),
        env=environment("torch"),
    output:
        summary=report(
            "results/assumptions/summary.csv",
            category="3 Results",
            labels={"what": "What the paper leaves open"},
            caption="../report/captions/assumptions.rst",
        ),
        variance=report(
            "results/assumptions/variance.csv",
            category="3 Results",
            labels={"what": "What the paper leaves open: shares of variance"},
            caption="../report/captions/assumptions.rst",
        ),
        figure=report(
            "results/figures/assumptions.svg",
            category="3 Results",
            labels={"what": "What the paper leaves open: figure"},
            caption="../report/captions/assumptions.rst",
        ),
    log:
        "results/logs/assumptions/summary.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("collect_assumptions"),
        replicates=lambda wildcards, input: options(
            {"replicates": input.get("replicates") or None}
        ),
        seed=config["seed"],
    message:
        "Comparing what the paper leaves open"
    shell:
        "{params.run} --predictions {input.predictions} --logits {input.logits}"
        " {params.replicates} --seed {params.seed} --summary {output.summary}"
        " --variance {output.variance} --figure {output.figure} &> {log}"
