"""COVID-19 images as nets see them: words covered in the test images, variants of the others."""


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
    conda:
        CONDA_TORCH
    params:
        **step("find_words"),
    message:
        "Finding words in the test images ({wildcards.covid19})"
    shell:
        "{params.run} --folder {input.folder} --split {input.split} --out {output} &> {log}"


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
        CONDA_TORCH
    resources:
        mem_mb=growing(4000),
    params:
        **step("prepare_covid19"),
        size=options({"size": config["image_size"]}),
        text_boxes=lambda wildcards, input: options(
            {"text_boxes": input.get("text_boxes") or None}
        ),
    message:
        "Reading the COVID-19 images, covering words in test images ({wildcards.covid19})"
    shell:
        "{params.run} --folder {input.folder} --split {input.split}"
        " {params.size} {params.text_boxes} --train {output.train} {output.train_table}"
        " --val {output.val} {output.val_table}"
        " --test-unedited {output.test_unedited} {output.test_unedited_table}"
        " --test-edited {output.test_edited} {output.test_edited_table}"
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
        CONDA_TORCH
    params:
        **step("plot_words"),
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
        sidecar=sidecar("results/data/{covid19}/augmented/{split}.npy"),
    log:
        "results/logs/data/{covid19}/augmented/{split}.npy.log",
    wildcard_constraints:
        covid19="covid19",
    cache: CACHE
    conda:
        CONDA_TORCH
    resources:
        mem_mb=growing(4000),
    params:
        **step("augment"),
        options=augmentation_settings,
    message:
        "Augmenting the {wildcards.split} images ({wildcards.covid19})"
    shell:
        "{params.run} --images {input.images} {input.table} --out {output.images} {output.table}"
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
        CONDA_TORCH
    params:
        **step("plot_variants"),
    message:
        "Showing augmented images"
    shell:
        "{params.run} --images {input.images} {input.table} --out {output} &> {log}"
