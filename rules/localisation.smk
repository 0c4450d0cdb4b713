"""Do heatmaps point at disease? NIH's boxes for pretrained nets, masks for nets A to E."""


rule prepare_boxes:
    input:
        boxes=box_list,
        images=ancient(archives()),
        sums=sums_of(archives()),
        tables=tables_of(archives()),
        split="results/data/chestxray14/split.csv",
        env=environment("torch"),
    output:
        images="results/data/chestxray14/boxed.npz",
        table="results/data/chestxray14/boxed.csv",
    log:
        "results/logs/data/chestxray14/boxed.npz.log",
    conda:
        CONDA_TORCH
    params:
        **step("prepare_boxes"),
    message:
        "Putting ChestX-ray14's test images beside NIH's boxes"
    shell:
        "{params.run} --boxes {input.boxes} --images {input.images} --tables {input.tables}"
        " --split {input.split} --out {output.images} {output.table} &> {log}"


rule prepare_masks:
    input:
        masks=mask_folder,
        sum=mask_sums,
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        manifest="results/data/covid19/manifest.csv",
        env=environment("torch"),
    output:
        images="results/data/covid19/masked.npz",
        table="results/data/covid19/masked.csv",
    log:
        "results/logs/data/covid19/masked.npz.log",
    conda:
        CONDA_TORCH
    params:
        **step("prepare_masks"),
    message:
        "Putting COVID-19 test images beside their masks"
    shell:
        "{params.run} --masks {input.masks:q} --images {input.images} {input.table}"
        " --manifest {input.manifest}"
        " --out {output.images} {output.table} &> {log}"


rule localise:
    input:
        net=last_checkpoint,
        images="results/data/covid19/masked.npz",
        masked="results/data/covid19/masked.csv",
        env=environment("torch"),
    output:
        table=report(
            "results/{net}/localisation.csv",
            category="4 Explanation",
            subcategory="Localisation",
            labels={"net": "{net}", "what": "Do heatmaps point at the masks?"},
            caption="../report/captions/localisation.rst",
        ),
        figure=report(
            "results/figures/localisation_{net}.svg",
            category="4 Explanation",
            subcategory="Localisation",
            labels={"net": "{net}", "what": "Do heatmaps point at the masks? Figure"},
            caption="../report/captions/localisation.rst",
        ),
    log:
        "results/logs/{net}/localisation.csv.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("localise"),
        options=options(
            {
                "methods": pytorch_methods(),
                "iou_threshold": config["heatmaps"]["iou_threshold"],
                "most": config["heatmaps"]["max_localised"],
                "seed": config["seed"],
            }
        ),
    message:
        "Measuring whether heatmaps point at the masks ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.masked}"
        " {params.options} --table {output.table} --figure {output.figure} &> {log}"


use rule localise as localise_pretrained with:
    input:
        net="results/pretrained/{name}/model.safetensors",
        gate=lambda wildcards: gate_of({"start": wildcards.name}),
        images="results/data/chestxray14/boxed.npz",
        masked="results/data/chestxray14/boxed.csv",
        env=environment("torch"),
    output:
        table=report(
            "results/pretrained/{name}/localisation.csv",
            category="4 Explanation",
            subcategory="Localisation",
            labels={"net": "{name}", "what": "Do heatmaps point at NIH's boxes?"},
            caption="../report/captions/localisation_boxes.rst",
        ),
        figure=report(
            "results/figures/localisation_{name}.svg",
            category="4 Explanation",
            subcategory="Localisation",
            labels={
                "net": "{name}",
                "what": "Do heatmaps point at NIH's boxes? Figure",
            },
            caption="../report/captions/localisation_boxes.rst",
        ),
    log:
        "results/logs/pretrained/{name}/localisation.csv.log",
    message:
        "Measuring whether heatmaps point at NIH's boxes ({wildcards.name})"
