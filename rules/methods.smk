"""What heatmaps are worth: how faithful they are to their net, and which method to read."""


rule measure_faithfulness:
    input:
        net=last_checkpoint,
        images="results/data/covid19/test_edited.npy",
        images_table="results/data/covid19/test_edited.csv",
        relevance="results/{net}/heatmaps/test_set.npz",
        table="results/{net}/heatmaps/test_set.csv",
        split="results/data/covid19/split.csv",
        duplicates="results/data/covid19/duplicates.csv",
        env=environment("torch"),
    output:
        table=report(
            "results/{net}/faithfulness.csv",
            category="4 Explanation",
            subcategory="Faithfulness",
            labels={"what": "Faithfulness by method, {net}"},
            caption="../report/captions/faithfulness.rst",
        ),
        curves="results/{net}/faithfulness_curves.csv",
        figure=report(
            "results/figures/faithfulness_{net}.svg",
            category="4 Explanation",
            subcategory="Faithfulness",
            labels={"what": "Faithfulness by method, {net}: curves"},
            caption="../report/captions/faithfulness.rst",
        ),
    log:
        "results/logs/{net}/faithfulness.csv.log",
    benchmark:
        "results/benchmarks/{net}/faithfulness.csv.tsv"
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("measure_faithfulness"),
        options=options(config["heatmaps"]["faithfulness"] | {"seed": config["seed"]}),
    message:
        "Measuring how faithful the heatmaps are ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.images_table}"
        " --relevance {input.relevance} --table {input.table} --split {input.split}"
        " --duplicates {input.duplicates} {params.options} --out {output.table}"
        " --curves {output.curves} --figure {output.figure} &> {log}"
