"""COVID-19 images: inspected, split, words covered, augmented."""


rule inspect_covid19:
    input:
        folder=ancient(COVID19_IMAGES),
        images=f"{COVID19_IMAGES}.csv",
        env=environment("torch"),
    output:
        "results/data/covid19/manifest.csv",
    log:
        "results/logs/data/covid19/manifest.csv.log",
    conda:
        "../envs/torch.yaml"
    threads: 2
    params:
        run=step("inspect_covid19"),
        options=options(
            {
                "max_unreadable": config["max_unreadable"],
                "expected": config["sources"]["covid19"][0].get("images"),
            }
        ),
    message:
        "Inspecting the COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --images {input.images}"
        " {params.options} --threads {threads} --out {output} &> {log}"


rule measure_class_leaks:
    input:
        manifest="results/data/covid19/manifest.csv",
        env=environment("torch"),
    output:
        report(
            "results/data/covid19/class_leaks.csv",
            category="1 Data",
            labels={"what": "File properties and class"},
            caption="../report/captions/class_leaks.rst",
        ),
    log:
        "results/logs/data/covid19/class_leaks.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("measure_class_leaks"),
    message:
        "Measuring how well file properties predict the class"
    shell:
        "{params.run} --manifest {input.manifest} --out {output} &> {log}"


rule match_originals:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        originals=config["covid19"]["originals"] or [],
        env=environment("torch"),
    output:
        "results/data/covid19/originals.csv",
    log:
        "results/logs/data/covid19/originals.csv.log",
    conda:
        "../envs/torch.yaml"
    threads: 2
    params:
        run=step("match_originals"),
        options=options(config["covid19"]["duplicates"]),
    message:
        "Matching COVID-19 images with originals to find patients"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " --originals {input.originals:q} {params.options} --threads {threads} --out {output}"
        " &> {log}"


rule match_metadata:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        collection=[
            f"results/downloads/collection/{source['name']}"
            for source in config["sources"]["collection"]
        ],
        originals=originals(config),
        env=environment("torch"),
    output:
        "results/data/covid19/metadata.csv",
    log:
        "results/logs/data/covid19/metadata.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("match_metadata"),
        options=lambda wildcards, input: options(
            {name: input.get(name) or None for name in ("collection", "originals")}
        ),
    message:
        "Finding patients and views of the COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " {params.options} --out {output} &> {log}"


rule propose_lateral_views:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        metadata="results/data/covid19/metadata.csv",
        env=environment("torch"),
    output:
        table="results/data/covid19/lateral_views_proposed.csv",
        sheet=report(
            "results/figures/lateral_views.jpg",
            category="1 Data",
            labels={"what": "COVID-19 images, proposed lateral views first"},
            caption="../report/captions/lateral_views.rst",
        ),
    log:
        "results/logs/data/covid19/lateral_views_proposed.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("propose_lateral_views"),
    message:
        "Proposing lateral views"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " --metadata {input.metadata} --out {output.table} --sheet {output.sheet} &> {log}"


rule find_duplicates:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        manifest="results/data/covid19/manifest.csv",
        env=environment("torch"),
    output:
        "results/data/covid19/duplicates.csv",
    log:
        "results/logs/data/covid19/duplicates.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("find_duplicates"),
        options=options(config["covid19"]["duplicates"]),
    message:
        "Finding duplicate COVID-19 images"
    shell:
        "{params.run} --folder {input.folder} --manifest {input.manifest}"
        " {params.options} --out {output} &> {log}"


rule split_covid19:
    input:
        manifest="results/data/covid19/manifest.csv",
        lateral_views=lateral_views(config),
        metadata="results/data/covid19/metadata.csv",
        duplicates="results/data/covid19/duplicates.csv",
        env=environment("torch"),
    output:
        "results/data/{covid19}/split.csv",
    log:
        "results/logs/data/{covid19}/split.csv.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("split_covid19"),
        options=covid19_split_settings,
    message:
        "Splitting the COVID-19 images ({wildcards.covid19})"
    shell:
        "{params.run} --manifest {input.manifest}"
        " --lateral-views {input.lateral_views:q} --metadata {input.metadata}"
        " --duplicates {input.duplicates} {params.options} --out {output} &> {log}"


rule plot_duplicates:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        duplicates="results/data/covid19/duplicates.csv",
        split="results/data/covid19/split.csv",
        env=environment("torch"),
    output:
        report(
            "results/figures/duplicates.jpg",
            category="1 Data",
            labels={"what": "Duplicates"},
            caption="../report/captions/duplicates.rst",
        ),
    log:
        "results/logs/figures/duplicates.jpg.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("plot_duplicates"),
    message:
        "Showing duplicates side by side"
    shell:
        "{params.run} --folder {input.folder} --duplicates {input.duplicates}"
        " --split {input.split} --out {output} &> {log}"


rule find_words:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        split="results/data/{covid19}/split.csv",
        env=environment("torch"),
    output:
        "results/data/{covid19}/found_words.csv",
    log:
        "results/logs/data/{covid19}/found_words.csv.log",
    benchmark:
        "results/benchmarks/data/{covid19}/found_words.csv.tsv"
    conda:
        "../envs/torch.yaml"
    threads: 2
    params:
        run=step("find_words"),
    message:
        "Finding words in the test images ({wildcards.covid19})"
    shell:
        "{params.run} --folder {input.folder} --split {input.split}"
        " --threads {threads} --out {output} &> {log}"


rule prepare_covid19:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        split="results/data/{covid19}/split.csv",
        text_boxes=text_boxes(config),
        env=environment("torch"),
    output:
        train="results/data/{covid19}/train.npy",
        train_sum="results/data/{covid19}/train.npy.sha256",
        train_table="results/data/{covid19}/train.csv",
        val="results/data/{covid19}/val.npy",
        val_sum="results/data/{covid19}/val.npy.sha256",
        val_table="results/data/{covid19}/val.csv",
        test_unedited="results/data/{covid19}/test_unedited.npy",
        test_unedited_table="results/data/{covid19}/test_unedited.csv",
        test_edited="results/data/{covid19}/test_edited.npy",
        test_edited_table="results/data/{covid19}/test_edited.csv",
        text_boxes="results/data/{covid19}/text_boxes.csv",
    log:
        "results/logs/data/{covid19}/train.npy.log",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
    params:
        run=step("prepare_covid19"),
        size=options({"size": config["image_size"]}),
        text_boxes=lambda wildcards, input: options(
            {"text_boxes": input.get("text_boxes") or None}
        ),
    message:
        "Reading the COVID-19 images, covering words in test images ({wildcards.covid19})"
    shell:
        "{params.run} --folder {input.folder} --split {input.split}"
        " {params.size} {params.text_boxes} --train {output.train} --val {output.val}"
        " --test-unedited {output.test_unedited} --test-edited {output.test_edited}"
        " --out-boxes {output.text_boxes} &> {log}"


rule plot_words:
    input:
        folder=ancient(COVID19_IMAGES),
        sums=f"{COVID19_IMAGES}.csv",
        split="results/data/covid19/split.csv",
        text_boxes="results/data/covid19/text_boxes.csv",
        env=environment("torch"),
    output:
        report(
            "results/figures/words.jpg",
            category="1 Data",
            labels={"what": "Words in test images, before and after covering"},
            caption="../report/captions/words.rst",
        ),
    log:
        "results/logs/figures/words.jpg.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("plot_words"),
    message:
        "Showing words before and after they are covered"
    shell:
        "{params.run} --folder {input.folder} --split {input.split}"
        " --text-boxes {input.text_boxes} --out {output} &> {log}"


rule augment:
    input:
        images=ancient("results/data/{covid19}/{split}.npy"),
        sum="results/data/{covid19}/{split}.npy.sha256",
        table="results/data/{covid19}/{split}.csv",
        env=environment("torch"),
    output:
        images="results/data/{covid19}/augmented/{split}.npy",
        sum="results/data/{covid19}/augmented/{split}.npy.sha256",
        table="results/data/{covid19}/augmented/{split}.csv",
    log:
        "results/logs/data/{covid19}/augmented/{split}.npy.log",
    benchmark:
        "results/benchmarks/data/{covid19}/augmented/{split}.npy.tsv"
    wildcard_constraints:
        covid19="covid19",
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
    params:
        run=step("augment"),
        options=augmentation_settings,
    message:
        "Augmenting the {wildcards.split} images ({wildcards.covid19})"
    shell:
        "{params.run} --images {input.images} --out {output.images}"
        " {params.options} &> {log}"


rule plot_variants:
    input:
        images=ancient("results/data/covid19/augmented/train.npy"),
        sum="results/data/covid19/augmented/train.npy.sha256",
        table="results/data/covid19/augmented/train.csv",
        env=environment("torch"),
    output:
        report(
            "results/figures/variants.jpg",
            category="1 Data",
            labels={"what": "Augmented images"},
            caption="../report/captions/variants.rst",
        ),
    log:
        "results/logs/figures/variants.jpg.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=step("plot_variants"),
    message:
        "Showing augmented images"
    shell:
        "{params.run} --images {input.images} --out {output} &> {log}"
