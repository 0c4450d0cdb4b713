"""Where results are from: what a run was, from the sidecars that all jobs leave."""


rule write_crate:
    input:
        results=rules.study.input,
        env=environment("torch"),
    output:
        crate="results/ro-crate-metadata.json",
        jobs=report(
            "results/provenance/jobs.csv",
            category="6 Provenance",
            labels={"what": "Jobs"},
            caption="../report/captions/jobs.rst",
        ),
        config="results/provenance/config.json",
        snakefile="results/provenance/Snakefile",
    log:
        "results/logs/ro-crate-metadata.json.log",
    conda:
        CONDA_TORCH
    params:
        **step("write_crate", record=False),
        code=code("write_crate"),
        snakefile=options({"snakefile": HERE / "Snakefile"}),
        config=as_json(config),
        version=snakemake_version,
    message:
        "Describing the run as an RO-Crate"
    shell:
        "{params.run} {params.snakefile} --config {params.config}"
        " --snakemake-version {params.version} --jobs {output.jobs}"
        " --out-config {output.config} --out-snakefile {output.snakefile} &> {log}"
