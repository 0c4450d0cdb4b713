"""What heatmaps are worth: how faithful they are to their net, and which method to read."""

NET = config["heatmaps"]["net"]
HEATMAPS = f"results/{NET}/heatmaps"
CURVES = "results/shortcut/curves.csv"  # where it was made: it is not part of `all`
LOCALISATION = {}
if config["covid19"].get("masks"):
    LOCALISATION[NET] = f"results/{NET}/localisation.csv"
if config["sources"].get("boxes"):
    for name in config["pretrained"]:
        LOCALISATION[name] = f"results/pretrained/{name}/localisation.csv"


rule measure_faithfulness:
    input:
        net=last_checkpoint,
        images="results/data/covid19/test_edited.npy",
        images_table="results/data/covid19/test_edited.csv",
        relevance="results/{net}/heatmaps/test_set.npz",
        table="results/{net}/heatmaps/test_set.csv",
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
        " --relevance {input.relevance} --table {input.table} {params.options}"
        " --out {output.table} --curves {output.curves} --figure {output.figure} &> {log}"


rule compare_methods:
    input:
        explained=f"{HEATMAPS}/test_set.csv",
        seconds=f"{HEATMAPS}/seconds.csv",
        randomised=f"{HEATMAPS}/randomised.csv",
        faithfulness=f"results/{NET}/faithfulness.csv",
        word="results/tables/word_relevance.csv",
        localisation=list(LOCALISATION.values()),
        shortcut=lambda wildcards: (ancient(CURVES) if Path(CURVES).exists() else []),
        page=ancient(str(REPORT / "methods.html")),
        style=ancient(str(REPORT / "style.css")),
        env=environment("torch"),
    output:
        table="results/tables/methods.csv",
        page=report(
            "results/tables/methods.html",
            category="4 Explanation",
            subcategory="Comparison",
            labels={"what": "Which heatmaps to read"},
            caption="../report/captions/methods.rst",
        ),
    log:
        "results/logs/tables/methods.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("compare_methods"),
        options=options(
            {
                "methods": pytorch_methods(),
                "net": NET,
                "localisation": LOCALISATION,
            }
        ),
        shortcut=lambda wildcards, input: (
            f"--shortcut {input.shortcut}" if input.shortcut else ""
        ),
        page=digest_of([REPORT / "methods.html", REPORT / "style.css"]),
    message:
        "Comparing the methods of heatmaps"
    shell:
        "{params.run} --explained {input.explained} --seconds {input.seconds}"
        " --randomised {input.randomised} --faithfulness {input.faithfulness}"
        " --word {input.word} {params.options} {params.shortcut} --page {input.page:q}"
        " --style {input.style:q} --out {output.table} --out-page {output.page} &> {log}"
