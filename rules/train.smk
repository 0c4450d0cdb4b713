"""Nets A to E on the COVID-19 images, one job per phase."""


rule build_net:
    input:
        start=lambda wildcards: start_of(net_of(wildcards.net)),
        gate=lambda wildcards: gate_of(net_of(wildcards.net)),
        script=script("build_net"),
        env=environment("torch"),
    output:
        "results/{net}/initial.safetensors",
    log:
        "results/logs/build_net/{net}.log",
    wildcard_constraints:
        net=ANY_NET,
    priority: 20
    conda:
        "../envs/torch.yaml"
    resources:
        mem_mb=growing(4000),
    params:
        run=recorded("torch"),
        code=code("build_net"),
        settings=net_settings,
        start=lambda wildcards, input: options({"start": input.get("start") or None}),
    message:
        "Building {wildcards.net}"
    shell:
        "{params.run} {input.script} {params.settings} {params.start} --out {output} &> {log}"


rule train_phase:
    input:
        train=covid19_of("augmented/train.npy"),
        train_table=covid19_of("augmented/train.csv"),
        val=covid19_of("augmented/val.npy"),
        val_table=covid19_of("augmented/val.csv"),
        start=previous_checkpoint,
        script=script("train_phase"),
        env=environment("torch"),
    output:
        checkpoint="results/{net}/phase{phase}/checkpoint.safetensors",
        history="results/{net}/phase{phase}/history.csv",
    log:
        "results/logs/train_phase/{net}_phase{phase}.log",
    benchmark:
        "results/benchmarks/train_phase/{net}_phase{phase}.tsv"
    wildcard_constraints:
        net=ANY_NET,
    priority: 20  # the long chains first
    conda:
        "../envs/torch.yaml"
    threads: 1  # nets train side by side; more threads for one: --set-threads train_phase=8
    resources:
        gpu=1,
        mem_mb=growing(8000),
        runtime=growing(720),
    params:
        run=recorded("torch"),
        code=code("train_phase"),
        settings=covid19_phase_settings,
    message:
        "Training {wildcards.net}, phase {wildcards.phase}"
    shell:
        "{params.run} {input.script} --train {input.train} --val {input.val}"
        " --start {input.start} {params.settings}"
        " --checkpoint {output.checkpoint} --history {output.history} &> {log}"


rule plot_training:
    input:
        histories=lambda wildcards: histories_of(wildcards.trained),
        script=script("plot_training"),
        env=environment("torch"),
    output:
        report(
            "results/figures/training_{trained}.svg",
            category="2 Training",
            labels={"net": "{trained}", "what": "training curves"},
            caption="captions/training.rst",
        ),
    log:
        "results/logs/plot_training/{trained}.log",
    conda:
        "../envs/torch.yaml"
    params:
        run=recorded("torch"),
        code=code("plot_training"),
    message:
        "Plotting the training of {wildcards.trained}"
    shell:
        "{params.run} {input.script} --histories {input.histories} --out {output} &> {log}"
