"""Conversion to ONNX and Keras, which has to prove itself, and LRP heatmaps."""


rule export_onnx:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        code=code("export_onnx"),
        env=environment("torch"),
    output:
        onnx="results/{net}/model.onnx",
        keras_source=temp("results/{net}/keras_source.onnx"),
        logits="results/{net}/logits.csv",
    log:
        "results/logs/export_onnx/{net}.log",
    priority: 10
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=8000,
    message:
        "Exporting {wildcards.net} as ONNX"
    shell:
        "{TORCH} {SCRIPTS}/export_onnx.py --net {input.net} --images {input.images}"
        " --onnx {output.onnx} --keras-source {output.keras_source} --logits {output.logits}"
        " &> {log}"


rule convert_keras:
    input:
        onnx="results/{net}/keras_source.onnx",
        code=code("convert_keras"),
        env=environment("keras"),
    output:
        "results/{net}/model.h5",
    log:
        "results/logs/convert_keras/{net}.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    resources:
        mem_mb=8000,
    message:
        "Converting {wildcards.net} to Keras"
    shell:
        "{KERAS} {SCRIPTS}/convert_keras.py --keras-source {input.onnx} --model {output} &> {log}"


rule check_conversion:
    input:
        model="results/{net}/model.h5",
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        logits="results/{net}/logits.csv",
        code=code("check_conversion"),
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
            caption="captions/conversion.rst",
        ),
    log:
        "results/logs/check_conversion/{net}.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    resources:
        mem_mb=8000,
    params:
        tolerance=config["conversion"]["tolerance"],
    message:
        "Checking that {wildcards.net} predicts the same in PyTorch, ONNX Runtime and Keras"
    shell:
        "{KERAS} {SCRIPTS}/check_conversion.py --model {input.model} --images {input.images}"
        " --logits {input.logits} --tolerance {params.tolerance} --conversion {output} &> {log}"


rule select_figure_images:
    input:
        split="results/data/covid19/split.csv",
        text_boxes="results/data/covid19/text_boxes.csv",
        code=code("select_figure_images"),
        env=environment("torch"),
    output:
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
    log:
        "results/logs/select_figure_images.log",
    conda:
        "../envs/torch.yaml"
    params:
        folder="results/downloads/covid19",
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
        "{TORCH} {SCRIPTS}/select_figure_images.py --folder {params.folder} --split {input.split}"
        " --text-boxes {input.text_boxes} {params.options} --out {output.images} &> {log}"


rule predict_figure_images:
    input:
        net=lambda wildcards: of_phases(wildcards.net, "checkpoint.safetensors")[-1],
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        code=code("predict_figure_images"),
        env=environment("torch"),
    output:
        "results/{net}/heatmaps/predictions.csv",
    log:
        "results/logs/predict_figure_images/{net}.log",
    conda:
        "../envs/torch.yaml"
    message:
        "Predicting the images of figures 2 to 4 with {wildcards.net}"
    shell:
        "{TORCH} {SCRIPTS}/predict_figure_images.py --net {input.net} --images {input.images}"
        " --out {output} &> {log}"


rule explain:
    input:
        model="results/{net}/model.h5",
        conversion="results/{net}/conversion.csv",
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        code=code("explain"),
        env=environment("keras"),
    output:
        relevance="results/{net}/heatmaps/relevance.npz",
        table="results/{net}/heatmaps/heatmaps.csv",
    log:
        "results/logs/explain/{net}.log",
    benchmark:
        "results/benchmarks/explain/{net}.tsv"
    priority: 10
    conda:
        "../envs/keras.yaml"
    threads: 2  # one per method; results don't depend on it
    resources:
        mem_mb=12000,
        runtime=60,
    params:
        methods=options({"methods": config["heatmaps"]["methods"]}),
    message:
        "Explaining {wildcards.net} by layer-wise relevance propagation"
    shell:
        "{KERAS} {SCRIPTS}/explain.py --model {input.model} --images {input.images}"
        " {params.methods} --relevance {output.relevance} --table {output.table}"
        " --threads {threads} &> {log}"


rule plot_heatmaps:
    input:
        images="results/data/covid19/figure_images.npy",
        table="results/data/covid19/figure_images.csv",
        heatmaps=f"results/{config['heatmaps']['net']}/heatmaps/heatmaps.csv",
        relevance=f"results/{config['heatmaps']['net']}/heatmaps/relevance.npz",
        predictions=f"results/{config['heatmaps']['net']}/heatmaps/predictions.csv",
        code=code("plot_heatmaps"),
        env=environment("torch"),
    output:
        figure=report(
            "results/figures/figure{figure}.svg",
            category="4 Explanation",
            subcategory="Heatmaps",
            labels={"what": "Figure {figure}"},
            caption="captions/heatmaps.rst",
        ),
        table="results/figures/figure{figure}.csv",
    log:
        "results/logs/plot_heatmaps/figure{figure}.log",
    conda:
        "../envs/torch.yaml"
    message:
        "Drawing figure {wildcards.figure}"
    shell:
        "{TORCH} {SCRIPTS}/plot_heatmaps.py --figure {wildcards.figure} --images {input.images}"
        " --heatmaps {input.heatmaps} --relevance {input.relevance}"
        " --predictions {input.predictions} --out {output.figure} &> {log}"
