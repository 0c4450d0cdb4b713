"""Audits that could sink the result: a rule for all; what each is given is in common.smk."""


rule audit:
    input:
        files=lambda wildcards: files_of(AUDITS[wildcards.audit]),
        script=lambda wildcards: script(f"audit_{wildcards.audit}"),
        env=environment("torch"),
    output:
        table=report(
            "results/audits/{audit}.csv",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "table"},
            caption="captions/audit.rst",
        ),
        finding="results/audits/{audit}.finding.csv",
        figure=report(
            "results/audits/{audit}.svg",
            category="5 Audits",
            labels={"audit": "{audit}", "what": "figure"},
            caption="captions/audit.rst",
        ),
    log:
        "results/logs/audit/{audit}.log",
    wildcard_constraints:
        audit=one_of(AUDITS),
    conda:
        "../envs/torch.yaml"
    resources:
        gpu=lambda wildcards: int("nets" in AUDITS[wildcards.audit]),
        mem_mb=growing(8000),
        runtime=growing(120),
    params:
        run=recorded("torch"),
        code=lambda wildcards: code(f"audit_{wildcards.audit}"),
        options=lambda wildcards: options(
            AUDITS[wildcards.audit] | AUDIT_SETTINGS.get(wildcards.audit, {})
        ),
    message:
        "Auditing {wildcards.audit}"
    shell:
        "{params.run} {input.script} {params.options} --out {output.table} &> {log}"


rule collect_audits:
    input:
        findings=collect("results/audits/{audit}.finding.csv", audit=AUDITS),
        script=script("collect_audits"),
        env=environment("torch"),
    output:
        report(
            "results/audits/audits.csv",
            category="5 Audits",
            labels={"audit": "all", "what": "findings"},
            caption="captions/audits.rst",
        ),
    log:
        "results/logs/collect_audits.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("collect_audits"),
        options=options({"strict": config["audits"]["strict"]}),
    message:
        "Collecting the audits' findings"
    shell:
        "{params.run} {input.script} --findings {input.findings} {params.options}"
        " --out {output} &> {log}"


rule write_checklists:
    input:
        results=[path for path in EVIDENCE if path.startswith("results/")],
        checklists=ancient(str(CHECKLISTS)),
        audits="results/audits/audits.csv",
        script=script("write_checklists"),
        env=environment("torch"),
    output:
        table=report(
            "results/audits/checklists.csv",
            category="5 Audits",
            labels={"audit": "all", "what": "checklists"},
            caption="captions/checklists.rst",
        ),
        page="results/audits/checklists.html",
    log:
        "results/logs/write_checklists.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("write_checklists"),
        checklists=digest_of([CHECKLISTS]),
        results=subpath(output.table, ancestor=2),
        options=options({"net": config["heatmaps"]["net"], "repository": str(HERE)}),
    message:
        "Answering checklists"
    shell:
        "{params.run} {input.script} --checklists {input.checklists} --audits {input.audits}"
        " --results {params.results} {params.options} --out {output.table} &> {log}"


rule write_model_card:
    input:
        model="results/{net}/model.json",
        calibration="results/{net}/calibration.csv",
        split="results/data/covid19/split.csv",
        audits="results/audits/audits.csv",
        script=script("write_model_card"),
        env=environment("torch"),
    output:
        "results/{net}/model_card.md",
    log:
        "results/logs/write_model_card/{net}.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("write_model_card"),
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
        "{params.run} {input.script} {params.options} --model {input.model}"
        " --calibration {input.calibration} --split {input.split} --audits {input.audits}"
        " --out {output} &> {log}"
