"""Sources: fetched, or linked where they are local, or drawn."""


localrules:
    download,
    download_covid19,
    link_local,
    draw_phantoms,


rule draw_phantoms:
    input:
        env=environment("torch"),
    output:
        drawn=[
            directory(path) if is_folder(path) else path for path in phantoms(config)
        ],
        sums=sums_of(path for path in phantoms(config) if is_folder(path)),
    log:
        "results/logs/draw_phantoms.log",
    conda:
        CONDA_TORCH
    params:
        **step("draw_phantoms"),
        options=options(config.get("phantoms", {}) | {"seed": config["seed"]}),
    message:
        "Drawing phantoms in the layouts of the real data sets"
    shell:
        "{params.run} --chestxray14 phantoms/chestxray14"
        " --covid19 phantoms/covid19 --lists phantoms"
        " --second-hospital phantoms/second_hospital {params.options}"
        " --outputs {output.drawn} &> {log}"


rule download:
    input:
        env=environment("torch"),
    output:
        file="results/downloads/{dataset}/{source}",
        sum="results/downloads/{dataset}/{source}.sha256",
        sidecar=sidecar("results/downloads/{dataset}/{source}"),
    log:
        "results/logs/downloads/{dataset}/{source}.log",
    wildcard_constraints:
        dataset=one_of(name for name in sources_of(config) if name != "covid19"),
        source=source_pattern(local=False),
    cache: CACHE
    conda:
        CONDA_TORCH
    params:
        **step("download"),
        source=source_options,
    message:
        "Fetching {wildcards.source} of {wildcards.dataset}"
    shell:
        "{params.run} {params.source} --out {output.file} &> {log}"


# Not cached: a cache would change the permissions of the user's own files.
use rule download as link_local with:
    input:
        local=lambda wildcards: source_of(wildcards.dataset, wildcards.source)["local"],
        env=environment("torch"),
    wildcard_constraints:
        source=source_pattern(local=True),
    cache: False


rule download_covid19:
    input:
        local=ancient(local_covid19()),
        sum=sums_of(path for path in local_covid19() if is_phantom(path)),
        env=environment("torch"),
    output:
        folder=directory(COVID19_IMAGES),
        manifest=f"{COVID19_IMAGES}.csv",
    log:
        "results/logs/downloads/covid19.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("download_covid19"),
        source=options(
            {
                key: config["sources"]["covid19"][0].get(key)
                for key in ("local", "kaggle")
            }
        ),
        classes=options({"classes": config["covid19"]["folders"]}),
    message:
        "Fetching the COVID-19 Radiography Database"
    shell:
        "{params.run} {params.source} --folder {output.folder}"
        " --manifest {output.manifest} {params.classes} &> {log}"
