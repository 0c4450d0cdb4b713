"""Heatmaps of all test images: gallery, word experiment, check against random weights."""


rule explain_test_set:
    input:
        net=last_checkpoint,
        edited="results/data/covid19/test_edited.npy",
        edited_table="results/data/covid19/test_edited.csv",
        unedited="results/data/covid19/test_unedited.npy",
        unedited_table="results/data/covid19/test_unedited.csv",
        env=environment("torch"),
    output:
        relevance="results/{net}/heatmaps/test_set.npz",
        table="results/{net}/heatmaps/test_set.csv",
        seconds="results/{net}/heatmaps/seconds.csv",
        pictures=directory("results/{net}/gallery"),
    log:
        "results/logs/{net}/heatmaps/test_set.npz.log",
    conda:
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("explain_test_set"),
        methods=pytorch_methods(),
    message:
        "Computing heatmaps of all test images ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --edited {input.edited} {input.edited_table}"
        " --unedited {input.unedited} {input.unedited_table} --methods {params.methods}"
        " --pictures {output.pictures} --relevance {output.relevance} --table {output.table}"
        " --seconds {output.seconds} &> {log}"


rule randomise_weights:
    input:
        net=last_checkpoint,
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
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("randomise_weights"),
        options=options(
            {
                "methods": pytorch_methods(),
                "per_class": config["heatmaps"]["randomised_per_class"],
                "seed": config["seed"],
            }
        ),
    message:
        "Comparing heatmaps with those of re-initialised weights ({wildcards.net})"
    shell:
        "{params.run} --net {input.net} --images {input.images} {input.table}"
        " {params.options} --table {output.table} --figure {output.figure} &> {log}"


rule write_gallery:
    input:
        predictions="results/{net}/predictions.csv",
        edited="results/data/covid19/test_edited.csv",
        unedited="results/data/covid19/test_unedited.csv",
        pictures=ancient("results/{net}/gallery"),  # the page has their names only
        page=ancient(str(REPORT / "gallery.html")),
        style=ancient(str(REPORT / "style.css")),
        env=environment("torch"),
    output:
        "results/{net}/gallery.html",
    log:
        "results/logs/{net}/gallery.html.log",
    conda:
        CONDA_TORCH
    params:
        **step("write_gallery"),
        methods=pytorch_methods(),
        page=digest_of([REPORT / "gallery.html", REPORT / "style.css"]),
    message:
        "Writing the gallery of test images ({wildcards.net})"
    shell:
        "{params.run} --predictions {input.predictions} --edited {input.edited}"
        " --unedited {input.unedited} --methods {params.methods} --pictures {input.pictures}"
        " --page {input.page:q} --style {input.style:q} --out {output} &> {log}"


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
        CONDA_TORCH
    resources:
        gpu=1,
        mem_mb=growing(8000),
    params:
        **step("measure_word"),
        options=options(
            {
                "nets": last_checkpoints(),
                "explain": config["heatmaps"]["net"],
                "methods": pytorch_methods(),
                "word": config["heatmaps"]["word"],
                "position": config["heatmaps"]["word_position"],
                "height": config["heatmaps"]["word_height"],
                "seed": config["seed"],
            }
        ),
    message:
        "Word experiment: adding a word to every test image"
    shell:
        "{params.run} --images {input.images} {input.table} {params.options}"
        " --table {output.table} --relevance {output.relevance} --figure {output.figure} &> {log}"
