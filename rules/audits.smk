"""Audits of threats to validity: a rule for all; common.smk has what each is given."""

import csv

CHECKLISTS = HERE / "report/checklists.csv"
EVIDENCE = sorted(
    {
        name.replace("{net}", config["heatmaps"]["net"])
        for row in csv.DictReader(CHECKLISTS.read_text().splitlines())
        for name in row["evidence"].split("; ")
    }
)
PREDICTIONS = by_net("predictions.csv")
UNEDITED = ("train", "val", "test_unedited")  # the COVID-19 images as they were read
# What pretrained nets say of ChestX-ray14's images, and their labels.
FINDINGS = {
    "logits": {
        name: f"results/pretrained/{name}/logits.csv" for name in config["pretrained"]
    },
    "split": "results/data/chestxray14/split.csv",
}
# The files that each audit_NAME.py is given, by option.
AUDITS = {
    "patients": {
        "chestxray14": "results/data/chestxray14/split.csv",
        "covid19": f"{COVID19}/split.csv",
        "pairs": "results/audits/pretraining.csv",
    },
    "selection": {
        "histories": [
            path for net in config["nets"] for path in phase_files(net, "history.csv")
        ],
        "train": f"{COVID19}/augmented/train.csv",
        "val": f"{COVID19}/augmented/val.csv",
        "split": f"{COVID19}/split.csv",
        "pairs": "results/audits/pretraining.csv",
        "chestxray14": "results/data/chestxray14/split.csv",
    },
    "duplicates": {
        "duplicates": f"{COVID19}/duplicates.csv",
        "split": f"{COVID19}/split.csv",
        "predictions": PREDICTIONS,
    },
    "sources": {
        "metadata": f"{COVID19}/metadata.csv",
        "split": f"{COVID19}/split.csv",
    },
    "pretraining": {
        "chestxray14": archives(),
        "chestxray14_tables": tables_of(archives()),
        "covid19": [f"{COVID19}/{name}.npy" for name in UNEDITED],
        "covid19_tables": [f"{COVID19}/{name}.csv" for name in UNEDITED],
    },
    "nuisance": {
        "manifest": f"{COVID19}/manifest.csv",
        "train": image_set("train"),
        "val": image_set("val"),
        "test": image_set("test_unedited"),
    }
    | lungs_found(),
    "regions": {
        "nets": last_checkpoints(),
        "train": image_set("train"),
        "images": image_set("test_edited"),
    }
    | lungs_found(),
    "text": {"text_boxes": f"{COVID19}/text_boxes.csv", "predictions": PREDICTIONS},
    "relevance": {
        "relevance": f"{HEATMAPS}/test_set.npz",
        "table": f"{HEATMAPS}/test_set.csv",
    }
    | lungs_found(),
    "adults": {
        "nets": last_checkpoints(),
        "images": archives(),
        "tables": tables_of(archives()),
        "split": "results/data/chestxray14/split.csv",
        "labels": f"results/downloads/chestxray14/{config['chestxray14']['labels']}",
        "pairs": "results/audits/pretraining.csv",
        "covid19": f"{COVID19}/split.csv",
    },
    "subgroups": FINDINGS
    | {"labels": f"results/downloads/chestxray14/{config['chestxray14']['labels']}"},
    "labels": FINDINGS | radiologists(),
}
AUDITS_WITH_NETS = {name for name, files in AUDITS.items() if "nets" in files}
SEED = {"seed": config["seed"]}
# Where each net's pretraining on ChestX-ray14 was done: if elsewhere, its split is not known.
PRETRAINING = {
    "pretraining": {
        name: (
            "here"
            if net["start"] in TRAINED
            else "elsewhere" if net["start"] in LOADED else "none"
        )
        for name, net in config["nets"].items()
    }
}
OF_PRETRAINED = {
    "min_images": config["audits"]["min_images"],
    "pretraining": {
        name: "here" if name in TRAINED else "elsewhere"
        for name in config["pretrained"]
    },
}
AUDIT_SETTINGS = {
    "duplicates": {"scores": "results/audits/duplicates.scores.csv"},
    "selection": PRETRAINING,
    "pretraining": config["covid19"]["duplicates"],
    "nuisance": SEED,
    "regions": SEED,
    "text": SEED,
    "relevance": SEED,
    "adults": SEED | PRETRAINING | {"most": config["audits"]["max_adults"]},
    "subgroups": OF_PRETRAINED | {"age_bounds": config["audits"]["age_bounds"]},
    "labels": OF_PRETRAINED,
}


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
        audit=one_of(AUDITS.keys() - AUDITS_WITH_NETS - {"duplicates", "pretraining"}),
    conda:
        CONDA_TORCH
    params:
        **step("audit_{audit}"),
        options=lambda wildcards: options(
            AUDITS[wildcards.audit] | AUDIT_SETTINGS.get(wildcards.audit, {})
        ),
    message:
        "Auditing {wildcards.audit}"
    shell:
        "{params.run} {params.options}"
        " --out {output.table} {output.finding} {output.figure} &> {log}"


use rule audit as audit_pretraining with:
    wildcard_constraints:
        audit="pretraining",
    resources:
        mem_mb=growing(4000),
        runtime=growing(120),


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
        findings=collect(
            "results/audits/{audit}.finding.csv", audit=[*AUDITS, "external"]
        ),
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
        CONDA_TORCH
    params:
        **step("collect_audits"),
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
        external="results/tables/external.csv",
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
        CONDA_TORCH
    params:
        **step("write_checklists"),
        checklists=digest_of([CHECKLISTS]),
        page=digest_of([REPORT / "checklists.html", REPORT / "style.css"]),
        options=options({"net": config["heatmaps"]["net"], "repository": str(HERE)}),
    message:
        "Answering the checklists"
    shell:
        "{params.run} --checklists {input.checklists:q} --audits {input.audits}"
        " --external {input.external} --evidence {input.results} {params.options} --page {input.page:q}"
        " --style {input.style:q} --out {output.table} --out-page {output.page} &> {log}"
