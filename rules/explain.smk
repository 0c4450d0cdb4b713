"""Conversion to ONNX and Keras, which has to prove itself, and LRP heatmaps."""


rule export_onnx:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        env=environment("torch"),
    output:
        onnx="results/{net}/model.onnx",
        keras_source=temp("results/{net}/keras_source.onnx"),
        logits="results/{net}/logits.csv",
    log:
        "results/logs/{net}/model.onnx.log",
    priority: 10
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(8000),
    params:
        run=step("export_onnx", temporary=["keras_source"]),
    message:
        "Exporting {wildcards.net} as ONNX"
    shell:
        "{params.run} --net {input.net} --images {input.images}"
        " --onnx {output.onnx} --keras-source {output.keras_source} --logits {output.logits}"
        " &> {log}"


rule convert_keras:
    input:
        onnx="results/{net}/keras_source.onnx",
        env=environment("keras"),
    output:
        "results/{net}/model.h5",
    log:
        "results/logs/{net}/model.h5.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    resources:
        mem_mb=growing(8000),
    params:
        run=step("convert_keras", "keras"),
    message:
        "Converting {wildcards.net} to Keras"
    shell:
        "{params.run} --keras-source {input.onnx} --model {output} &> {log}"


rule check_conversion:
    input:
        model="results/{net}/model.h5",
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        logits="results/{net}/logits.csv",
        env=environment("keras"),
    output:
        report(
            "results/{net}/conversion.csv",
            category="4 Explanation",
            subcategory="Conversion",
            labels={
                "net": "{net}",
                "what": "PyTorch, ONNX Runtime and Keras compared",
            },
            caption="../report/captions/conversion.rst",
        ),
    log:
        "results/logs/{net}/conversion.csv.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    resources:
        mem_mb=growing(8000),
    params:
        run=step("check_conversion", "keras"),
        tolerance=config["conversion"]["tolerance"],
    message:
        "Checking that {wildcards.net} predicts the same in PyTorch, ONNX Runtime and Keras"
    shell:
        "{params.run} --model {input.model} --images {input.images}"
        " --logits {input.logits} --tolerance {params.tolerance} --conversion {output} &> {log}"


rule publish_net:
    input:
        checkpoint=lambda wildcards: of_phases(
            wildcards.net, "checkpoint.safetensors"
        )[-1],
        onnx="results/{net}/model.onnx",
        summary="results/{net}/summary.csv",
        metrics="results/{net}/metrics.csv",
        conversion="results/{net}/conversion.csv",
        env=environment("torch"),
    output:
        net="results/{net}/model.safetensors",
        description="results/{net}/model.json",
    log:
        "results/logs/{net}/model.safetensors.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("publish_net"),
    message:
        "Publishing {wildcards.net}"
    shell:
        "{params.run} --checkpoint {input.checkpoint} --onnx {input.onnx}"
        " --summary {input.summary} --metrics {input.metrics} --conversion {input.conversion}"
        " --out {output.net} &> {log}"


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
        "../envs/torch.yaml"
    params:
        run=step("select_figure_images"),
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
        " --text-boxes {input.text_boxes} {params.options} --out {output.images} &> {log}"


rule predict_figure_images:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        env=environment("torch"),
    output:
        "results/{net}/heatmaps/predictions.csv",
    log:
        "results/logs/{net}/heatmaps/predictions.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("predict_figure_images"),
    message:
        "Predicting the images of figures 2 to 4 with {wildcards.net}"
    shell:
        "{params.run} --net {input.net} --images {input.images}"
        " --out {output} &> {log}"


rule explain:
    input:
        model="results/{net}/model.h5",
        conversion="results/{net}/conversion.csv",
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        env=environment("keras"),
    output:
        relevance="results/{net}/heatmaps/relevance.npz",
        table="results/{net}/heatmaps/heatmaps.csv",
        pictures=directory("results/{net}/heatmaps/pictures"),
    log:
        "results/logs/{net}/heatmaps/relevance.npz.log",
    benchmark:
        "results/benchmarks/{net}/heatmaps/relevance.npz.tsv"
    priority: 10
    conda:
        "../envs/keras.yaml"
    threads: 1  # with 2, a method each; results do not depend on it
    resources:
        mem_mb=growing(8000),
        runtime=growing(60),
    params:
        run=step("explain", "keras"),
        methods=options({"methods": config["heatmaps"]["methods"]}),
    message:
        "Computing heatmaps of figures 2 to 4 by LRP ({wildcards.net})"
    shell:
        "{params.run} --model {input.model} --images {input.images}"
        " {params.methods} --relevance {output.relevance} --table {output.table}"
        " --pictures {output.pictures} --threads {threads} &> {log}"


rule check_heatmaps:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
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
        "../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        run=step("check_heatmaps"),
        least=config["heatmaps"]["min_rank_correlation"],
    message:
        "Checking the heatmaps against a second implementation ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images}"
        " --heatmaps {input.heatmaps} --relevance {input.relevance} --least {params.least}"
        " --out {output} &> {log}"


rule explain_test_set:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        env=environment("torch"),
    output:
        relevance="results/{net}/heatmaps/test_set.npz",
        table="results/{net}/heatmaps/test_set.csv",
    log:
        "results/logs/{net}/heatmaps/test_set.npz.log",
    benchmark:
        "results/benchmarks/{net}/heatmaps/test_set.npz.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        run=step("explain_test_set"),
    message:
        "Computing heatmaps of all test images ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images}"
        " --relevance {output.relevance} --table {output.table} &> {log}"


rule randomise_weights:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        env=environment("torch"),
    output:
        table="results/{net}/heatmaps/randomised.csv",
        figure=report(
            "results/figures/randomised_{net}.svg",
            category="4 Explanation",
            subcategory="Heatmaps",
            labels={"what": "Sanity check with random weights, {net}"},
            caption="../report/captions/randomised.rst",
        ),
    log:
        "results/logs/{net}/heatmaps/randomised.csv.log",
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        run=step("randomise_weights"),
        options=options(
            {
                "per_class": config["heatmaps"]["randomised_per_class"],
                "seed": config["seed"],
            }
        ),
    message:
        "Comparing heatmaps with those of re-initialised weights ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images}"
        " {params.options} --table {output.table} --figure {output.figure} &> {log}"


rule write_gallery:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        edited="results/data/covid19/test_edited.npy",
        edited_table="results/data/covid19/test_edited.csv",
        unedited="results/data/covid19/test_unedited.npy",
        unedited_table="results/data/covid19/test_unedited.csv",
        predictions="results/{net}/predictions.csv",
        page=ancient(str(REPORT / "gallery.html")),
        style=ancient(str(REPORT / "style.css")),
        env=environment("torch"),
    output:
        page="results/{net}/gallery.html",
        pictures=directory("results/{net}/gallery"),
    log:
        "results/logs/{net}/gallery.html.log",
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        run=step("write_gallery"),
        page=digest_of([REPORT / "gallery.html", REPORT / "style.css"]),
    message:
        "Writing the gallery of test images ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --edited {input.edited}"
        " --unedited {input.unedited} --predictions {input.predictions} --out {output.page}"
        " --pictures {output.pictures} --page {input.page:q} --style {input.style:q} &> {log}"


rule measure_word:
    input:
        nets=list(last_checkpoints().values()),
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        env=environment("torch"),
    output:
        table=report(
            "results/tables/word.csv",
            category="4 Explanation",
            subcategory="Word experiment",
            labels={"what": "Effect of the word on every test image"},
            caption="../report/captions/word.rst",
        ),
        relevance=report(
            "results/tables/word_relevance.csv",
            category="4 Explanation",
            subcategory="Word experiment",
            labels={"what": "Relevance on the word"},
            caption="../report/captions/word.rst",
        ),
        figure=report(
            "results/figures/word.svg",
            category="4 Explanation",
            subcategory="Word experiment",
            labels={"what": "Effect of the word: figure"},
            caption="../report/captions/word.rst",
        ),
    log:
        "results/logs/tables/word.csv.log",
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        run=step("measure_word"),
        options=options(
            {
                "nets": last_checkpoints(),
                "explain": config["heatmaps"]["net"],
                "word": config["heatmaps"]["word"],
                "position": config["heatmaps"]["word_position"],
                "height": config["heatmaps"]["word_height"],
                "seed": config["seed"],
            }
        ),
    message:
        "Word experiment: adding a word to every test image"
    shell:
        "{params.run} --images {input.images} {params.options}"
        " --table {output.table} --relevance {output.relevance} --figure {output.figure} &> {log}"


rule plot_heatmaps:
    input:
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        heatmaps=f"results/{config['heatmaps']['net']}/heatmaps/heatmaps.csv",
        relevance=f"results/{config['heatmaps']['net']}/heatmaps/relevance.npz",
        agreement=f"results/{config['heatmaps']['net']}/heatmaps/agreement.csv",
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
        "../envs/torch.yaml"
    params:
        run=step("plot_heatmaps"),
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{params.run} --figure {wildcards.figure} --images {input.images}"
        " --heatmaps {input.heatmaps} --relevance {input.relevance}"
        " --predictions {input.predictions} --out {output.figure} &> {log}"
