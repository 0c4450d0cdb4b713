"""External sets: listed, prepared as test images are, predicted by all nets, and evaluated."""


rule list_external:
    input:
        sources=lambda wildcards: [
            (
                ancient(path) if is_folder_there(path) else path
            )  # a folder's age means nothing
            for path in external_sources(wildcards).values()
        ],
        sums=lambda wildcards: sums_of(
            path for path in external_sources(wildcards).values() if is_phantom(path)
        ),
        env=environment("torch"),
    output:
        folder=directory("results/downloads/external/{set}"),
        manifest=f"{EXTERNAL_DATA}/{{set}}/manifest.csv",
    log:
        "results/logs/data/external/{set}/manifest.csv.log",
    wildcard_constraints:
        set=one_of(EXTERNAL),
    conda:
        CONDA_TORCH
    params:
        **step("list_external"),
        options=external_settings,
    message:
        "Listing the images of the external set {wildcards.set}"
    shell:
        "{params.run} {params.options} --folder {output.folder} --out {output.manifest} &> {log}"


if EXTERNAL:

    rule prepare_external:
        input:
            folders=[
                ancient(path)
                for path in by_set("results/downloads/external/{}").values()
            ],
            manifests=list(by_set(f"{EXTERNAL_DATA}/{{}}/manifest.csv").values()),
            text_boxes=list(external_boxes().values()),
            known=files_of(external_known()),
            env=environment("torch"),
        output:
            images=list(by_set(f"{EXTERNAL_DATA}/{{}}/images.npy").values()),
            tables=list(by_set(f"{EXTERNAL_DATA}/{{}}/images.csv").values()),
            left_out=list(by_set(f"{EXTERNAL_DATA}/{{}}/left_out.csv").values()),
            boxes=list(by_set(f"{EXTERNAL_DATA}/{{}}/text_boxes.csv").values()),
        log:
            "results/logs/data/external.log",
        conda:
            CONDA_TORCH
        resources:
            mem_mb=growing(4000),
            runtime=growing(120),
        params:
            **step("prepare_external"),
            options=options(
                external_known()
                | {
                    "folders": by_set("results/downloads/external/{}"),
                    "manifests": by_set(f"{EXTERNAL_DATA}/{{}}/manifest.csv"),
                    "text_boxes": external_boxes(),
                    "words_in": [
                        name
                        for name in EXTERNAL
                        if EXTERNAL[name].get("text_boxes") == "found"
                    ],
                    "size": config["image_size"],
                    "max_unreadable": config["max_unreadable"],
                    **{
                        name: config["covid19"]["duplicates"][name]
                        for name in ("candidates", "correlation")
                    },
                    "images": by_set(f"{EXTERNAL_DATA}/{{}}/images.npy"),
                    "tables": by_set(f"{EXTERNAL_DATA}/{{}}/images.csv"),
                    "left_out": by_set(f"{EXTERNAL_DATA}/{{}}/left_out.csv"),
                    "boxes": by_set(f"{EXTERNAL_DATA}/{{}}/text_boxes.csv"),
                }
            ),
        message:
            "Reading the external sets, covering words, looking for copies"
        shell:
            "{params.run} {params.options} &> {log}"

    rule predict_external:
        input:
            nets=list(last_checkpoints().values()),
            images=rules.prepare_external.output.images,
            tables=rules.prepare_external.output.tables,
            env=environment("torch"),
        output:
            "results/external/logits.csv",
        log:
            "results/logs/external/logits.csv.log",
        conda:
            CONDA_TORCH
        resources:
            gpu=1,
            mem_mb=growing(8000),
        params:
            **step("predict_external"),
            options=options(
                {
                    "nets": last_checkpoints(),
                    "images": by_set(f"{EXTERNAL_DATA}/{{}}/images.npy"),
                    "tables": by_set(f"{EXTERNAL_DATA}/{{}}/images.csv"),
                }
            ),
        message:
            "Predicting the external sets"
        shell:
            "{params.run} {params.options} --out {output} &> {log}"


rule evaluate_external:
    input:
        net_files("last_logits.csv"),
        net_files("calibration.csv"),
        logits="results/external/logits.csv" if EXTERNAL else [],
        left_out=rules.prepare_external.output.left_out if EXTERNAL else [],
        env=environment("torch"),
    output:
        table=report(
            "results/tables/external.csv",
            category="3 Results",
            labels={"what": "Images from elsewhere: scores"},
            caption="../report/captions/external.rst",
        ),
        confusion=report(
            "results/external/confusion.csv",
            category="3 Results",
            labels={"what": "Images from elsewhere: confusion matrices"},
            caption="../report/captions/external.rst",
        ),
        first_page="results/external/first_page.csv",
        figure=report(
            "results/figures/external.svg",
            category="3 Results",
            labels={"what": "Images from elsewhere: figure"},
            caption="../report/captions/external.rst",
        ),
        finding="results/audits/external.finding.csv",
    log:
        "results/logs/tables/external.csv.log",
    conda:
        CONDA_TORCH
    params:
        **step("evaluate_external"),
        options=options(
            {
                "internal": by_net("last_logits.csv"),
                "calibrations": by_net("calibration.csv"),
                "logits": "results/external/logits.csv" if EXTERNAL else None,
                "left_out": by_set(f"{EXTERNAL_DATA}/{{}}/left_out.csv"),
                "min_confidence": config["external"]["min_confidence"],
            }
        ),
        published=as_json(config["published"]["external"]),
    message:
        "Evaluating the nets on external sets"
    shell:
        "{params.run} {params.options} --published {params.published} --table {output.table}"
        " --confusion {output.confusion} --first-page {output.first_page}"
        " --figure {output.figure} --finding {output.finding} &> {log}"
