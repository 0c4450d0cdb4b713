"""A planted shortcut: phantoms on which a word tells the class, by dose, and who sees it."""

DOSES = config["shortcut"]["doses"]
SHORTCUT_AUDITS = ["text", "nuisance", "regions"]
WORD = {"word": config["heatmaps"]["word"]} | {
    key: config["shortcut"][key] for key in ("word_position", "word_height")
}


# All take seconds and need no GPU.
localrules:
    draw_shortcut,
    build_shortcut,
    train_shortcut,
    predict_shortcut,
    audit_shortcut,
    measure_shortcut,


rule draw_shortcut:
    input:
        env=environment("torch"),
    output:
        train="results/data/shortcut/dose{dose}/train.npy",
        train_sum="results/data/shortcut/dose{dose}/train.npy.sha256",
        train_table="results/data/shortcut/dose{dose}/train.csv",
        val="results/data/shortcut/dose{dose}/val.npy",
        val_sum="results/data/shortcut/dose{dose}/val.npy.sha256",
        val_table="results/data/shortcut/dose{dose}/val.csv",
        test_unedited="results/data/shortcut/dose{dose}/test_unedited.npy",
        test_unedited_table="results/data/shortcut/dose{dose}/test_unedited.csv",
        test_edited="results/data/shortcut/dose{dose}/test_edited.npy",
        test_edited_table="results/data/shortcut/dose{dose}/test_edited.csv",
        manifest="results/data/shortcut/dose{dose}/manifest.csv",
        text_boxes="results/data/shortcut/dose{dose}/text_boxes.csv",
    log:
        "results/logs/data/shortcut/dose{dose}/train.npy.log",
    wildcard_constraints:
        dose=one_of(map(str, DOSES)),
    conda:
        CONDA_TORCH
    params:
        **step("draw_shortcut"),
        options=options(
            {
                "per_class": config["shortcut"]["per_class"],
                "image_size": config["shortcut"]["net"]["image_size"],
                "mark_strength": config["shortcut"]["mark_strength"],
                "seed": config["seed"],
            }
            | WORD
        ),
    message:
        "Drawing phantoms with a shortcut at {wildcards.dose} %"
    shell:
        "{params.run} --dose {wildcards.dose} {params.options}"
        " --train {output.train} {output.train_table} --val {output.val} {output.val_table}"
        " --test-unedited {output.test_unedited} {output.test_unedited_table}"
        " --test-edited {output.test_edited} {output.test_edited_table}"
        " --manifest {output.manifest} --text-boxes {output.text_boxes} &> {log}"


use rule build_net as build_shortcut with:
    wildcard_constraints:
        net=SHORTCUT,


use rule train_phase as train_shortcut with:
    input:
        train=ancient("results/data/{net}/train.npy"),
        train_sum="results/data/{net}/train.npy.sha256",
        train_table="results/data/{net}/train.csv",
        val=ancient("results/data/{net}/val.npy"),
        val_sum="results/data/{net}/val.npy.sha256",
        val_table="results/data/{net}/val.csv",
        start=previous_checkpoint,
        env=environment("torch"),
    wildcard_constraints:
        net=SHORTCUT,


use rule predict as predict_shortcut with:
    wildcard_constraints:
        net=SHORTCUT,


use rule audit as audit_shortcut with:
    input:
        files=lambda wildcards: files_of(shortcut_audit(wildcards)),
        env=environment("torch"),
    output:
        table="results/{net}/audits/{audit}.csv",
        finding="results/{net}/audits/{audit}.finding.csv",
        figure="results/{net}/audits/{audit}.svg",
    log:
        "results/logs/{net}/audits/{audit}.csv.log",
    wildcard_constraints:
        net=SHORTCUT,
        audit=one_of(SHORTCUT_AUDITS),
    params:
        **step("audit_{audit}"),
        options=lambda wildcards: options(shortcut_audit(wildcards) | SEED),
    message:
        "Auditing {wildcards.audit} ({wildcards.net})"


rule measure_shortcut:
    input:
        nets=[
            phase_files(f"shortcut/dose{dose}", "checkpoint.safetensors")[-1]
            for dose in DOSES
        ],
        predictions=collect("results/shortcut/dose{dose}/predictions.csv", dose=DOSES),
        clean="results/data/shortcut/dose0/test_edited.npy",
        clean_table="results/data/shortcut/dose0/test_edited.csv",
        audits=collect(
            "results/shortcut/dose{dose}/audits/{audit}.csv",
            audit=SHORTCUT_AUDITS,
            dose=DOSES,
        ),
        findings=collect(
            "results/shortcut/dose{dose}/audits/{audit}.finding.csv",
            audit=SHORTCUT_AUDITS,
            dose=DOSES,
        ),
        env=environment("torch"),
    output:
        curves=report(
            "results/shortcut/curves.csv",
            category="4 Explanation",
            subcategory="Planted shortcut",
            labels={"what": "Accuracy, and relevance on the word"},
            caption="../report/captions/shortcut.rst",
        ),
        audits=report(
            "results/shortcut/audits.csv",
            category="4 Explanation",
            subcategory="Planted shortcut",
            labels={"what": "What the audits say"},
            caption="../report/captions/shortcut.rst",
        ),
        finding=report(
            "results/shortcut/finding.csv",
            category="4 Explanation",
            subcategory="Planted shortcut",
            labels={"what": "Finding"},
            caption="../report/captions/shortcut.rst",
        ),
        figure=report(
            "results/figures/shortcut.svg",
            category="4 Explanation",
            subcategory="Planted shortcut",
            labels={"what": "Figure"},
            caption="../report/captions/shortcut.rst",
        ),
    log:
        "results/logs/shortcut/curves.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("measure_shortcut"),
        options=options(
            {
                "doses": DOSES,
                "methods": [*pytorch_methods(), *BASELINES],
                "seed": config["seed"],
            }
            | WORD
        ),
    message:
        "Planted shortcut: which methods and audits see it"
    shell:
        "{params.run} --nets {input.nets} --predictions {input.predictions}"
        " --clean {input.clean} {input.clean_table} --tables {input.audits}"
        " --findings {input.findings} {params.options} --curves {output.curves}"
        " --audits {output.audits} --finding {output.finding} --figure {output.figure} &> {log}"
