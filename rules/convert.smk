"""PyTorch to ONNX and Keras, with a proof of equal predictions; the published net."""


rule export_onnx:
    input:
        net=last_checkpoint,
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
        CONDA_TORCH
    resources:
        mem_mb=growing(8000),
    params:
        **step("export_onnx", temporary=["keras_source"]),
    message:
        "Exporting {wildcards.net} as ONNX"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.table}"
        " --onnx {output.onnx} --keras-source {output.keras_source} --logits {output.logits}"
        " &> {log}"


rule convert_keras:
    input:
        onnx="results/{net}/keras_source.onnx",
        images="results/data/covid19/test_edited.npy",
        table="results/data/covid19/test_edited.csv",
        logits="results/{net}/logits.csv",
        env=environment("keras"),
    output:
        model="results/{net}/model.h5",
        conversion=report(
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
        "results/logs/{net}/model.h5.log",
    priority: 10
    conda:
        "../envs/keras.yaml"
    resources:
        mem_mb=growing(4000),
    params:
        **step("convert_keras", "keras"),
        tolerance=config["conversion"]["tolerance"],
    message:
        "Converting {wildcards.net} to Keras, with the same predictions"
    shell:
        "{params.run} --keras-source {input.onnx} --images {input.images} {input.table}"
        " --logits {input.logits} --tolerance {params.tolerance} --model {output.model}"
        " --conversion {output.conversion} &> {log}"


rule publish_net:
    input:
        checkpoint=last_checkpoint,
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
        CONDA_TORCH
    params:
        **step("publish_net"),
    message:
        "Publishing {wildcards.net}"
    shell:
        "{params.run} --checkpoint {input.checkpoint} --onnx {input.onnx}"
        " --summary {input.summary} --metrics {input.metrics} --conversion {input.conversion}"
        " --out {output.net} --record {output.description} &> {log}"


rule write_model_card:
    input:
        model="results/{net}/model.json",
        calibration="results/{net}/calibration.csv",
        split="results/data/covid19/split.csv",
        external="results/tables/external.csv",
        audits="results/audits/audits.csv",
        env=environment("torch"),
    output:
        "results/{net}/model_card.md",
    log:
        "results/logs/{net}/model_card.md.log",
    conda:
        CONDA_TORCH
    params:
        **step("write_model_card"),
        options=lambda wildcards: options(
            {
                "net": wildcards.net,
                "process": training_process(wildcards.net),
                "phantoms": "phantoms" in config,
            }
        ),
    message:
        "Writing the model card of {wildcards.net}"
    shell:
        "{params.run} {params.options} --model {input.model}"
        " --calibration {input.calibration} --split {input.split}"
        " --external {input.external} --audits {input.audits} --out {output} &> {log}"
