"""ChestX-ray14: split by patient, and read from the archives into arrays."""


rule split_patients:
    input:
        labels=f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        lists=config["chestxray14"]["lists"],
        script=script("split_patients"),
        env=environment("torch"),
    output:
        "results/data/chestxray14/split.csv",
    log:
        "results/logs/split_patients.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("split_patients"),
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
        "{params.run} {input.script} --labels {input.labels} --out {output}"
        " {params.options} &> {log}"


rule prepare_chestxray14:
    input:
        archive="results/downloads/chestxray14/{archive}.tar.gz",
        labels=f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        script=script("prepare_chestxray14"),
        env=environment("torch"),
    output:
        images="results/data/chestxray14/arrays/{archive}.npy",
        table="results/data/chestxray14/arrays/{archive}.csv",
    log:
        "results/logs/prepare_chestxray14/{archive}.log",
    benchmark:
        "results/benchmarks/prepare_chestxray14/{archive}.tsv"
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),
    params:
        run=recorded("torch"),
        code=code("prepare_chestxray14"),
        options=options(
            {"size": config["image_size"], "max_unreadable": config["max_unreadable"]}
        ),
    message:
        "Reading ChestX-ray14's {wildcards.archive}"
    shell:
        "{params.run} {input.script} --archive {input.archive}"
        " --labels {input.labels} {params.options} --out {output.images} &> {log}"
