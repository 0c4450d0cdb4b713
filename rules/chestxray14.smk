"""ChestX-ray14: split by patient, and read from the archives into arrays."""


rule split_patients:
    input:
        labels=f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        lists=config["chestxray14"]["lists"],
        env=environment("torch"),
    output:
        "results/data/chestxray14/split.csv",
    log:
        "results/logs/data/chestxray14/split.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("split_patients"),
        options=options(
            {
                "seed": config["seed"],
                "fractions": config["chestxray14"]["fractions"],
                "lists": config["chestxray14"]["lists"] or None,
            }
        ),
    message:
        "Splitting ChestX-ray14 by patient"
    shell:
        "{params.run} --labels {input.labels} --out {output}"
        " {params.options} &> {log}"


rule prepare_chestxray14:
    input:
        archive=ancient("results/downloads/chestxray14/{archive}.tar.gz"),
        sum="results/downloads/chestxray14/{archive}.tar.gz.sha256",
        labels=f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        env=environment("torch"),
    output:
        images="results/data/chestxray14/arrays/{archive}.npy",
        sum="results/data/chestxray14/arrays/{archive}.npy.sha256",
        table="results/data/chestxray14/arrays/{archive}.csv",
        sidecar=sidecar("results/data/chestxray14/arrays/{archive}.npy"),
    log:
        "results/logs/data/chestxray14/arrays/{archive}.npy.log",
    cache: CACHE
    conda:
        CONDA_TORCH
    resources:
        mem_mb=growing(2000),
    params:
        **step("prepare_chestxray14"),
        options=options(
            {"size": config["image_size"], "max_unreadable": config["max_unreadable"]}
        ),
    message:
        "Reading {wildcards.archive} of ChestX-ray14"
    shell:
        "{params.run} --archive {input.archive}"
        " --labels {input.labels} {params.options} --out {output.images} {output.table} &> {log}"
