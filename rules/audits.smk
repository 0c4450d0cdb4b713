"""Audits of threats to validity: a rule for all; common.smk has what each is given."""


rule audit:
    input:
        files=lambda wildcards: files_of(AUDITS[wildcards.audit]),
        env=environment("torch"),
    output:
        table=report(
            "results/audits/{audit}.csv",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "table"},
            caption="../report/captions/audit.rst",
        ),
        finding="results/audits/{audit}.finding.csv",
        figure=report(
            "results/audits/{audit}.svg",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "figure"},
            caption="../report/captions/audit.rst",
        ),
    log:
        "results/logs/audits/{audit}.csv.log",
    wildcard_constraints:
        audit=one_of(AUDITS.keys() - AUDITS_WITH_NETS - {"duplicates"}),
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(3000),
    params:
        run=step("audit_{audit}"),
        options=lambda wildcards, output: options(
            AUDITS[wildcards.audit]
            | AUDIT_SETTINGS.get(wildcards.audit, {})
            | {"scores": output.get("scores")}
        ),
    message:
        "Auditing {wildcards.audit}"
    shell:
        "{params.run} {params.options} --out {output.table} &> {log}"


use rule audit as audit_nets with:
    wildcard_constraints:
        audit=one_of(AUDITS_WITH_NETS),
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(120),


use rule audit as audit_duplicates with:
    output:
        table=report(
            "results/audits/{audit}.csv",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "table"},
            caption="../report/captions/audit.rst",
        ),
        finding="results/audits/{audit}.finding.csv",
        figure=report(
            "results/audits/{audit}.svg",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "figure"},
            caption="../report/captions/audit.rst",
        ),
        scores="results/audits/{audit}.scores.csv",
    wildcard_constraints:
        audit="duplicates",


rule collect_audits:
    input:
        findings=collect("results/audits/{audit}.finding.csv", audit=AUDITS),
        env=environment("torch"),
    output:
        report(
            "results/audits/audits.csv",
            category="5 Audits",
            labels={"audit": "all", "what": "results"},
            caption="../report/captions/audits.rst",
        ),
    log:
        "results/logs/audits/audits.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("collect_audits"),
        options=options({"strict": config["audits"]["strict"]}),
    message:
        "Collecting the results of the audits"
    shell:
        "{params.run} --findings {input.findings} {params.options}"
        " --out {output} &> {log}"


rule write_checklists:
    input:
        results=[path for path in EVIDENCE if path.startswith("results/")],
        checklists=ancient(str(CHECKLISTS)),
        page=ancient(str(REPORT / "checklists.html")),
        style=ancient(str(REPORT / "style.css")),
        audits="results/audits/audits.csv",
        env=environment("torch"),
    output:
        table=report(
            "results/audits/checklists.csv",
            category="5 Audits",
            labels={"audit": "all", "what": "checklists"},
            caption="../report/captions/checklists.rst",
        ),
        page="results/audits/checklists.html",
    log:
        "results/logs/audits/checklists.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("write_checklists"),
        checklists=digest_of([CHECKLISTS]),
        page=digest_of([REPORT / "checklists.html", REPORT / "style.css"]),
        results=subpath(output.table, ancestor=2),
        options=options({"net": config["heatmaps"]["net"], "repository": str(HERE)}),
    message:
        "Answering the checklists"
    shell:
        "{params.run} --checklists {input.checklists:q} --audits {input.audits}"
        " --results {params.results} {params.options} --page {input.page:q}"
        " --style {input.style:q} --out {output.table} &> {log}"


rule write_model_card:
    input:
        model="results/{net}/model.json",
        calibration="results/{net}/calibration.csv",
        split="results/data/covid19/split.csv",
        audits="results/audits/audits.csv",
        env=environment("torch"),
    output:
        "results/{net}/model_card.md",
    log:
        "results/logs/{net}/model_card.md.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("write_model_card"),
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
        " --calibration {input.calibration} --split {input.split} --audits {input.audits}"
        " --out {output} &> {log}"
