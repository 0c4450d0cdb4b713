"""Nets A to E on the COVID-19 images, one job per phase."""


rule build_net:
    input:
        start=lambda wildcards: start_of(net_of(wildcards.net)),
        gate=lambda wildcards: gate_of(net_of(wildcards.net)),
        env=environment("torch"),
    output:
        net="results/{net}/initial.safetensors",
    log:
        "results/logs/{net}/initial.safetensors.log",
    priority: 20
    conda:
        CONDA_TORCH
    resources:
        mem_mb=growing(4000),
    params:
        **step("build_net"),
        settings=net_settings,
        start=start_option,
    message:
        "Building {wildcards.net}"
    shell:
        "{params.run} {params.settings} {params.start} --out {output} &> {log}"


rule train_phase:
    input:
        train=ancient(covid19_file("augmented/train.npy")),
        train_sum=covid19_file("augmented/train.npy.sha256"),
        train_table=covid19_file("augmented/train.csv"),
        val=ancient(covid19_file("augmented/val.npy")),
        val_sum=covid19_file("augmented/val.npy.sha256"),
        val_table=covid19_file("augmented/val.csv"),
        start=previous_checkpoint,
        env=environment("torch"),
    output:
        checkpoint="results/{net}/phase{phase}/checkpoint.safetensors",
        history="results/{net}/phase{phase}/history.csv",
    log:
        "results/logs/{net}/phase{phase}/checkpoint.safetensors.log",
    priority: 20  # the long chains first
    conda:
        CONDA_TORCH
    threads: 1  # nets train side by side; more threads for one: --set-threads train_phase=8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=TRAINING_RUNTIME["train_phase"],
    params:
        **step("train_phase", resumes=True),
        settings=phase_settings,
    message:
        "Training {wildcards.net}, phase {wildcards.phase}"
    shell:
        "{params.run} --train {input.train} {input.train_table}"
        " --val {input.val} {input.val_table}"
        " --start {input.start} {params.settings}"
        " --checkpoint {output.checkpoint} --history {output.history} &> {log}"


rule plot_training:
    input:
        histories=histories,
        env=environment("torch"),
    output:
        report(
            "results/figures/training_{trained}.svg",
            category="2 Training",
            labels={"net": "{trained}", "what": "Training curves"},
            caption="../report/captions/training.rst",
        ),
    log:
        "results/logs/figures/training_{trained}.svg.log",
    conda:
        CONDA_TORCH
    params:
        **step("plot_training"),
    message:
        "Plotting the training of {wildcards.trained}"
    shell:
        "{params.run} --histories {input.histories} --out {output} &> {log}"
