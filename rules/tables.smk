"""Counts of images, tables 1 to 3 and figure 1 of the paper."""


rule count_images:
    input:
        chestxray14="results/data/chestxray14/split.csv",
        archives=tables_of(archives()),
        duplicates="results/data/covid19/duplicates.csv",
        manifest="results/downloads/covid19.csv",
        covid19="results/data/covid19/split.csv",
        augmented="results/data/covid19/augmented/train.csv",
        pairs="results/audits/pretraining.csv",
        env=environment("torch"),
    output:
        report(
            "results/data/counts.csv",
            category="1 Data",
            labels={"what": "Image counts"},
            caption="../report/captions/counts.rst",
        ),
    log:
        "results/logs/data/counts.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("count_images"),
        paper=as_json(config["paper"]["counts"]),
    message:
        "Counting images"
    shell:
        "{params.run} --chestxray14 {input.chestxray14}"
        " --archives {input.archives} --duplicates {input.duplicates} --manifest {input.manifest}"
        " --covid19 {input.covid19} --augmented {input.augmented} --pairs {input.pairs}"
        " --paper {params.paper} --out {output} &> {log}"


rule write_tables:
    input:
        net_files("confusion.csv"),
        net_files("metrics.csv"),
        net_files("summary.csv"),
        env=environment("torch"),
    output:
        summary=report(
            "results/tables/summary.csv",
            category="3 Results",
            labels={"what": "All nets, with intervals"},
            caption="../report/captions/summary.rst",
        ),
        table1=report(
            "results/tables/table1.csv",
            category="3 Results",
            labels={"what": "Table 1: nets"},
            caption="../report/captions/table1.rst",
        ),
        table2=report(
            "results/tables/table2.csv",
            category="3 Results",
            labels={"what": "Table 2: confusion matrices"},
            caption="../report/captions/table2.rst",
        ),
        table3=report(
            "results/tables/table3.csv",
            category="3 Results",
            labels={"what": "Table 3: metrics"},
            caption="../report/captions/table3.rst",
        ),
        headline="results/tables/headline.csv",  # of the report's first page
    log:
        "results/logs/tables/summary.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("write_tables"),
        nets=options(
            {
                "confusion": by_net("confusion.csv"),
                "metrics": by_net("metrics.csv"),
                "summaries": by_net("summary.csv"),
                "architectures": {
                    name: net["architecture"] for name, net in config["nets"].items()
                },
                "processes": {name: training_process(name) for name in config["nets"]},
            }
        ),
        paper=as_json(
            {key: config["paper"][key] for key in ("accuracy", "confusion", "metrics")}
        ),
    message:
        "Writing tables 1 to 3"
    shell:
        "{params.run} {params.nets} --paper {params.paper} --out-summary {output.summary}"
        " --headline {output.headline} --table1 {output.table1} --table2 {output.table2}"
        " --table3 {output.table3} &> {log}"


rule plot_accuracies:
    input:
        net_files("predictions.csv"),
        [phase_files(net, "history.csv") for net in config["nets"]],
        env=environment("torch"),
    output:
        figure=report(
            "results/figures/figure1.svg",
            category="3 Results",
            labels={"what": "Figure 1: accuracy after each phase"},
            caption="../report/captions/figure1.rst",
        ),
        table="results/figures/figure1.csv",
    log:
        "results/logs/figures/figure1.svg.log",
    conda:
        CONDA_TORCH
    params:
        **step("plot_accuracies"),
        predictions=options({"predictions": by_net("predictions.csv")}),
        histories=options(
            {
                "histories": [
                    f"{net}={path}"
                    for net in config["nets"]
                    for path in phase_files(net, "history.csv")
                ]
            }
        ),
    message:
        "Plotting figure 1"
    shell:
        "{params.run} {params.predictions} {params.histories}"
        " --out {output.figure} --out-table {output.table} &> {log}"


rule compare_nets:
    input:
        predictions=net_files("predictions.csv"),
        env=environment("torch"),
    output:
        report(
            "results/tables/comparisons.csv",
            category="3 Results",
            labels={"what": "Which nets differ"},
            caption="../report/captions/comparisons.rst",
        ),
    log:
        "results/logs/tables/comparisons.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("compare_nets"),
        predictions=options({"predictions": by_net("predictions.csv")}),
    message:
        "Comparing the nets with each other"
    shell:
        "{params.run} {params.predictions} --out {output} &> {log}"


rule judge_claims:
    input:
        predictions=net_files("predictions.csv"),
        env=environment("torch"),
    output:
        report(
            "results/tables/claims.csv",
            category="3 Results",
            labels={"what": "Which claims hold"},
            caption="../report/captions/claims.rst",
        ),
    log:
        "results/logs/tables/claims.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("judge_claims"),
        predictions=options({"predictions": by_net("predictions.csv")}),
        claims=as_json(claims_about(config["nets"])),
        accuracies=as_json(config["paper"]["accuracy"]),
        n=len(CLASSES) * config["paper"]["counts"]["test_images_per_class"],
    message:
        "Judging the paper's claims about nets"
    shell:
        "{params.run} {params.predictions} --claims {params.claims}"
        " --accuracies {params.accuracies} --n-paper {params.n} --out {output} &> {log}"


rule compare_published:
    input:
        net_files("metrics.csv"),
        net_files("summary.csv"),
        aurocs=collect("results/pretrained/{name}/auroc.csv", name=config["pretrained"]),
        env=environment("torch"),
    output:
        published=report(
            "results/tables/published.csv",
            category="3 Results",
            labels={"what": "Beside other studies"},
            caption="../report/captions/published.rst",
        ),
        aurocs=report(
            "results/tables/aurocs.csv",
            category="2 Training",
            labels={"net": "all", "what": "AUROC beside published values"},
            caption="../report/captions/aurocs.rst",
        ),
    log:
        "results/logs/tables/published.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("compare_published"),
        options=options(
            {
                "metrics": by_net("metrics.csv"),
                "summaries": by_net("summary.csv"),
                "aurocs": {
                    name: f"results/pretrained/{name}/auroc.csv"
                    for name in config["pretrained"]
                },
            }
        ),
        published=as_json(config["published"]),
    message:
        "Comparing the nets with published ones"
    shell:
        "{params.run} {params.options} --published {params.published}"
        " --out {output.published} --out-aurocs {output.aurocs} &> {log}"
