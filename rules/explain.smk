"""Conversion to ONNX and Keras, which has to prove itself, and LRP heatmaps."""


rule select_figure_images:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        split="results/data/covid19/split.csv",
        text_boxes="results/data/covid19/text_boxes.csv",
        env=environment("torch"),
    output:
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
    log:
        "results/logs/data/covid19/figure_images.npy.log",
    conda:
        CONDA_TORCH
    params:
        **step("select_figure_images"),
        options=options(
            {
                "size": config["image_size"],
                "word": config["heatmaps"]["word"],
                "position": config["heatmaps"]["word_position"],
                "height": config["heatmaps"]["word_height"],
            }
        ),
    message:
        "Choosing the images of figures 2 to 4"
    shell:
        "{params.run} --folder {input.folder} --split {input.split}"
        " --text-boxes {input.text_boxes} {params.options} --out {output.images} {output.table} &> {log}"


rule predict_figure_images:
    input:
        net=last_checkpoint,
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        env=environment("torch"),
    output:
        predictions="results/{net}/heatmaps/predictions.csv",
        relevance="results/{net}/heatmaps/relevance_pytorch.npz",
        table="results/{net}/heatmaps/heatmaps_pytorch.csv",
    log:
        "results/logs/{net}/heatmaps/predictions.csv.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("predict_figure_images"),
        options=options(
            {"methods": [m for m in pytorch_methods() if m not in IN_INNVESTIGATE]}
        ),
    message:
        "Predicting and explaining the images of figures 2 to 4 with {wildcards.net}"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.table} {params.options}"
        " --out {output.predictions} --relevance {output.relevance} --table {output.table}"
        " &> {log}"


rule explain:
    input:
        model="results/{net}/model.h5",
        gate="results/{net}/conversion.csv",
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        env=environment("keras"),
    output:
        relevance="results/{net}/heatmaps/relevance.npz",
        table="results/{net}/heatmaps/heatmaps.csv",
        pictures=directory("results/{net}/heatmaps/pictures"),
    log:
        "results/logs/{net}/heatmaps/relevance.npz.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    threads: 1  # with 2, a method each; results do not depend on it
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        **step("explain", "keras"),
        methods=options({"methods": innvestigate_methods()}),
    message:
        "Computing heatmaps of figures 2 to 4 by LRP ({wildcards.net})"
    shell:
        "{params.run} --model {input.model} --images {input.images} {input.table}"
        " {params.methods} --relevance {output.relevance} --table {output.table}"
        " --pictures {output.pictures} --threads {threads} &> {log}"


rule check_heatmaps:
    input:
        net=last_checkpoint,
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        heatmaps="results/{net}/heatmaps/heatmaps.csv",
        relevance="results/{net}/heatmaps/relevance.npz",
        env=environment("torch"),
    output:
        report(
            "results/{net}/heatmaps/agreement.csv",
            category="4 Explanation",
            subcategory="Heatmaps",
            labels={"what": "Two implementations compared, {net}"},
            caption="../report/captions/agreement.rst",
        ),
    log:
        "results/logs/{net}/heatmaps/agreement.csv.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("check_heatmaps"),
        least=config["heatmaps"]["min_rank_correlation"],
    message:
        "Checking the heatmaps against a second implementation ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.table}"
        " --heatmaps {input.heatmaps} --relevance {input.relevance} --least {params.least}"
        " --out {output} &> {log}"


rule plot_heatmaps:
    input:
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        heatmaps=[
            f"results/{config['heatmaps']['net']}/heatmaps/{name}.csv"
            for name in ("heatmaps", "heatmaps_pytorch")
        ],
        relevance=[
            f"results/{config['heatmaps']['net']}/heatmaps/{name}.npz"
            for name in ("relevance", "relevance_pytorch")
        ],
        gate=f"results/{config['heatmaps']['net']}/heatmaps/agreement.csv",
        predictions=f"results/{config['heatmaps']['net']}/heatmaps/predictions.csv",
        env=environment("torch"),
    output:
        figure=report(
            "results/figures/figure{figure}.svg",
            category="4 Explanation",
            subcategory="Heatmaps",
            labels={"what": "Figure {figure}"},
            caption="../report/captions/heatmaps.rst",
        ),
        table="results/figures/figure{figure}.csv",
    log:
        "results/logs/figures/figure{figure}.svg.log",
    conda:
        CONDA_TORCH
    params:
        **step("plot_heatmaps"),
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{params.run} --figure {wildcards.figure} --images {input.images} {input.table}"
        " --heatmaps {input.heatmaps} --relevance {input.relevance}"
        " --predictions {input.predictions} --out {output.figure}"
        " --out-table {output.table} &> {log}"
