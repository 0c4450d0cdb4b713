"""Replicates: the nets over other splits and seeds, and how much of a score is due to which."""


rule collect_replicates:
    input:
        lambda wildcards: replicates("predictions.csv"),
        script=script("collect_replicates"),
        env=environment("torch"),
    output:
        replicates="results/replicates/replicates.csv",
        summary=report(
            "results/replicates/summary.csv",
            category="3 Results",
            labels={"what": "Replicates"},
            caption="captions/replicates.rst",
        ),
        variance=report(
            "results/replicates/variance.csv",
            category="3 Results",
            labels={"what": "Replicates: shares of variance"},
            caption="captions/replicates.rst",
        ),
        figure=report(
            "results/figures/replicates.svg",
            category="3 Results",
            labels={"what": "Replicates: figure"},
            caption="captions/replicates.rst",
        ),
    log:
        "results/logs/collect_replicates.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("collect_replicates"),
        folder=subpath(output.summary, parent=True),
        options=options(
            {"nets": list(config["nets"]), "replicates": config["replicates"]}
        ),
    message:
        "Comparing replicates"
    shell:
        "{params.run} {input.script} {params.options} --folder {params.folder}"
        " --figure {output.figure} &> {log}"
