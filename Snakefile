"""Reproduction of Bassi & Attux 2020, COVID-19 detection on chest X-rays: README.md."""

from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

# The folder of this file, also where it is a module of another workflow.
ROOT = workflow.current_basedir.get_path_or_uri(secret_free=True)
if not Path(ROOT).is_dir():
    raise WorkflowError(
        f"{ROOT}: the workflow's scripts run from a folder: clone the repository, and name the "
        "clone's Snakefile as the module's `snakefile:`"
    )
DEFAULTS = [
    f"{ROOT}/{path}.yaml" for path in ("config", "config/sources", "config/paper")
]

for path in DEFAULTS:

    configfile: path


if workflow.modifier.skip_configfile:  # `config:` of a module, which says what differs
    given, config = config, {}
    for path in DEFAULTS:
        update_config(config, yaml.safe_load(Path(path).read_text()))
    update_config(config, given)

if config["assumptions"] in (True, "true"):  # by --config: as the files have them
    config["assumptions"] = {}
    for path in [*DEFAULTS, *workflow.overwrite_configfiles]:
        given = yaml.safe_load(Path(path).read_text()) or {}
        update_config(config["assumptions"], given.get("assumptions", {}))


report: "report/captions/study.rst"


include: "rules/common.smk"
include: "rules/config.smk"
include: "rules/assumption_inputs.smk"
include: "rules/nets.smk"
include: "rules/inputs.smk"
include: "rules/heatmap_inputs.smk"
include: "rules/external_inputs.smk"
include: "rules/environments.smk"
include: "rules/download.smk"
include: "rules/chestxray14.smk"
include: "rules/covid19.smk"
include: "rules/augment.smk"
include: "rules/pretrain.smk"
include: "rules/train.smk"
include: "rules/evaluate.smk"
include: "rules/convert.smk"
include: "rules/explain.smk"
include: "rules/test_set.smk"
include: "rules/methods.smk"
include: "rules/localisation.smk"
include: "rules/lungs.smk"
include: "rules/audits.smk"
include: "rules/external.smk"
include: "rules/tables.smk"
include: "rules/replicates.smk"
include: "rules/assumptions.smk"
include: "rules/shortcut.smk"
include: "rules/estimates.smk"
include: "rules/preflight.smk"


# Steps that need no GPU, less than 1 GB and less than a minute of CPU at the full size run where
# Snakemake runs: a cluster's queue would take longer than they do. (find_duplicates takes minutes.)
localrules:
    study,
    all,
    split_patients,
    inspect_covid19,
    measure_class_leaks,
    match_metadata,
    propose_lateral_views,
    find_duplicates,
    split_covid19,
    plot_duplicates,
    prepare_covid19,
    plot_words,
    augment,
    plot_variants,
    build_pretrained,
    publish_pretrained,
    load_chexnet,
    evaluate_findings,
    build_net,
    plot_training,
    evaluate,
    calibrate,
    publish_net,
    write_model_card,
    select_figure_images,
    plot_heatmaps,
    write_gallery,
    prepare_boxes,
    prepare_masks,
    compare_methods,
    list_external,
    evaluate_external,
    audit,
    audit_duplicates,
    collect_audits,
    write_checklists,
    count_images,
    write_tables,
    plot_accuracies,
    compare_nets,
    judge_claims,
    compare_published,
    collect_replicates,
    write_crate,


rule study:
    input:
        "results/data/counts.csv",
        "results/data/covid19/class_leaks.csv",
        collect(
            "results/figures/{sheet}.jpg",
            sheet=["lateral_views", "duplicates", "words", "variants"],
        ),
        collect("results/pretrained/{name}/auroc.csv", name=config["pretrained"]),
        collect("results/{net}/confusion.csv", net=config["nets"]),
        collect("results/{net}/model_card.md", net=config["nets"]),
        collect(
            "results/tables/{table}.csv",
            table=[
                "table1",
                "table2",
                "table3",
                "summary",
                "comparisons",
                "claims",
                "published",
                "aurocs",
            ],
        ),
        collect("results/figures/calibration_{net}.svg", net=config["nets"]),
        "results/tables/external.csv",
        "results/audits/audits.csv",
        "results/audits/checklists.csv",
        collect("results/figures/figure{number}.svg", number=[1, 2, 3, 4]),
        collect("results/figures/training_{net}.svg", net=[*config["nets"], *TRAINED]),
        f"results/{config['heatmaps']['net']}/heatmaps/test_set.csv",
        f"results/figures/randomised_{config['heatmaps']['net']}.svg",
        f"results/{config['heatmaps']['net']}/faithfulness.csv",
        "results/tables/word.csv",
        "results/tables/methods.csv",
        f"results/{config['heatmaps']['net']}/gallery.html",
        localisations(),
        "results/replicates/summary.csv" if config["replicates"] else [],


include: "rules/provenance.smk"


rule all:
    default_target: True
    input:
        rules.study.input,
        "results/ro-crate-metadata.json",
