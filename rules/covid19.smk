"""COVID-19 images: inspected, split, words covered, augmented."""


rule inspect_covid19:
    input:
        folder=ancient(COVID19_IMAGES),
        images=f"{COVID19_IMAGES}.csv",
        env=environment("torch"),
    output:
        "results/data/covid19/manifest.csv",
    log:
        "results/logs/data/covid19/manifest.csv.log",
    conda:
        CONDA_TORCH
    threads: 2
    params:
        **step("inspect_covid19"),
        options=options(
            {
                "max_unreadable": config["max_unreadable"],
                "expected": config["sources"]["covid19"][0].get("images"),
            }
        ),
    message:
        "Inspecting the COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --images {input.images}"
        " {params.options} --threads {threads} --out {output} &> {log}"


rule measure_class_leaks:
    input:
        manifest="results/data/covid19/manifest.csv",
        env=environment("torch"),
    output:
        report(
            "results/data/covid19/class_leaks.csv",
            category="1 Data",
            labels={"what": "File properties and class"},
            caption="../report/captions/class_leaks.rst",
        ),
    log:
        "results/logs/data/covid19/class_leaks.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("measure_class_leaks"),
    message:
        "Measuring how well file properties predict the class"
    shell:
        "{params.run} --manifest {input.manifest} --out {output} &> {log}"


rule match_originals:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        originals=config["covid19"]["originals"] or [],
        env=environment("torch"),
    output:
        "results/data/covid19/originals.csv",
    log:
        "results/logs/data/covid19/originals.csv.log",
    conda:
        CONDA_TORCH
    threads: 2
    params:
        **step("match_originals"),
        options=options(
            {
                name: config["covid19"]["duplicates"][name]
                for name in ("candidates", "correlation")
            }
        ),
    message:
        "Matching COVID-19 images with originals to find patients"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " --originals {input.originals:q} {params.options} --threads {threads} --out {output}"
        " &> {log}"


rule match_metadata:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        collection=[
            f"results/downloads/collection/{source['name']}"
            for source in config["sources"]["collection"]
        ],
        originals=originals(config),
        env=environment("torch"),
    output:
        "results/data/covid19/metadata.csv",
    log:
        "results/logs/data/covid19/metadata.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("match_metadata"),
        options=lambda wildcards, input: options(
            {name: input.get(name) or None for name in ("collection", "originals")}
        ),
    message:
        "Finding patients and views of the COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " {params.options} --out {output} &> {log}"


rule propose_lateral_views:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        metadata="results/data/covid19/metadata.csv",
        env=environment("torch"),
    output:
        table="results/data/covid19/lateral_views_proposed.csv",
        sheet=report(
            "results/figures/lateral_views.jpg",
            category="1 Data",
            labels={"what": "COVID-19 images, proposed lateral views first"},
            caption="../report/captions/lateral_views.rst",
        ),
    log:
        "results/logs/data/covid19/lateral_views_proposed.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("propose_lateral_views"),
    message:
        "Proposing lateral views"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " --metadata {input.metadata} --out {output.table} --sheet {output.sheet} &> {log}"


rule find_duplicates:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        env=environment("torch"),
    output:
        table="results/data/covid19/duplicates.csv",
        unsure="results/data/covid19/duplicates_unsure.csv",
    log:
        "results/logs/data/covid19/duplicates.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("find_duplicates"),
        options=options(config["covid19"]["duplicates"]),
    message:
        "Finding duplicate COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " {params.options} --out {output.table} --out-unsure {output.unsure} &> {log}"


rule split_covid19:
    input:
        manifest="results/data/covid19/manifest.csv",
        lateral_views=lateral_views(config),
        metadata="results/data/covid19/metadata.csv",
        duplicates="results/data/covid19/duplicates.csv",
        env=environment("torch"),
    output:
        "results/data/{covid19}/split.csv",
    log:
        "results/logs/data/{covid19}/split.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("split_covid19"),
        options=covid19_split_settings,
    message:
        "Splitting the COVID-19 images ({wildcards.covid19})"
    shell:
        "{params.run} --manifest {input.manifest}"
        " --lateral-views {input.lateral_views:q} --metadata {input.metadata}"
        " --duplicates {input.duplicates} {params.options} --out {output} &> {log}"


rule plot_duplicates:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        duplicates="results/data/covid19/duplicates.csv",
        unsure="results/data/covid19/duplicates_unsure.csv",
        split="results/data/covid19/split.csv",
        env=environment("torch"),
    output:
        report(
            "results/figures/duplicates.jpg",
            category="1 Data",
            labels={"what": "Duplicates"},
            caption="../report/captions/duplicates.rst",
        ),
    log:
        "results/logs/figures/duplicates.jpg.log",
    conda:
        CONDA_TORCH
    params:
        **step("plot_duplicates"),
    message:
        "Showing duplicates side by side"
    shell:
        "{params.run} --folder {input.folder} --duplicates {input.duplicates}"
        " --unsure {input.unsure} --split {input.split} --out {output} &> {log}"
