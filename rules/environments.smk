"""One virtual environment per file of pins, or conda's with `--sdm conda`.

An environment's path carries the hash of its pins: changed pins make a new environment and
rerun what uses it, a deleted one is made again and reruns nothing.
"""


localrules:
    environments,
    make_environment,


rule environments:
    input:
        environment("torch"),
        environment("keras"),


rule make_environment:
    output:
        touch(str(HERE / ".venvs" / "{environment}-{digest}" / ".complete")),
    log:
        str(HERE / ".venvs" / "{environment}-{digest}.log"),
    wildcard_constraints:
        # One that is there is no job: from an ancient input that is to be made again, Snakemake
        # 9.27 doesn't go on to the jobs behind it, even if their outputs are missing.
        environment=one_of(
            pins(name).stem
            for name in ("torch", "keras")
            if not (environment_path(name) / ".complete").exists()
        ),
    params:
        uv=f"{shlex.quote(sys.executable)} -E -s -m uv",  # of the environment that Snakemake runs in
        pins=lambda wildcards: pins(wildcards.environment),
        folder=subpath(output[0], parent=True),
        advice=(
            "error: steps need Python 3.11; uv found none and could not fetch one. Run this where"
            " there is internet, put python3.11 on PATH, or set UV_PYTHON_INSTALL_MIRROR"
        ),
    message:
        "Creating the environment {wildcards.environment} from its pinned packages"
    run:
        shell(
            "({params.uv} venv --clear --python 3.11 {params.folder:q}"
            " || {{ echo {params.advice:q}; exit 1; }};"
            " {params.uv} pip install --compile-bytecode --require-hashes --no-deps"
            " --python {params.folder:q}/bin/python"
            " --requirement {params.pins:q}) &> {log:q}"
        )
