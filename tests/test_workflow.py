"""The workflow as a user meets it: one tiny study built for real, then what reruns and why.

Runs in the controller's environment; the steps run in theirs.
"""

import email.message
import hashlib
import io
import json
import os
import random
import re
import shutil
import subprocess
import time
import urllib.request
import urllib.response
import zipfile
from pathlib import Path

import pytest
import requests
import urllib3
import yaml
from browser import opened
from rocrate_validator import services
from studies import ROOT, copy_workflow, overlay, planned, read, snakemake

NETS = ["netA", "netB", "netC", "netD", "netE", "netF"]


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """A copy of the workflow in which nothing has run."""
    return copy_workflow(tmp_path_factory.mktemp("clone") / "repository")


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """A copy of the workflow with the tiny study built: every rule, by its real script."""
    folder = copy_workflow(tmp_path_factory.mktemp("study") / "repository")
    run = snakemake(folder, "all")
    assert run.returncode == 0, run.stdout[-6000:]
    return folder


# The commands of the README, before anything has run


def test_one_target_is_planned_without_further_flags(clone):
    jobs = planned(clone, "results/netC/confusion.csv", config=None)
    assert jobs["train_phase"] == 4
    assert jobs["prepare_chestxray14"] == 12
    assert jobs["download"] == 12 + 3, "archives, labels, ImageNet weights, metadata"
    assert "convert_keras" not in jobs


def test_slurm_profile_plans_the_whole_study(clone):
    jobs = planned(clone, "--profile", "slurm", "all", config=None)
    assert jobs["train_phase"] == 5 * 4
    assert jobs["load_chexnet"] == 1
    assert jobs["pretrain_phase"] == 2, "nets B and C share one training on ChestX-ray14"


def test_the_authors_nets_are_evaluated_when_asked_for(clone):
    jobs = planned(clone, "results/authors_nets/accuracies.csv", config=None)
    assert jobs["download"] == 5 + 1, "their nets, metadata"
    assert "train_phase" not in jobs


def test_external_sets_add_two_jobs_for_a_cluster(clone, tmp_path):
    """However many they are; and the table of a set may be called as one of another source."""
    (tmp_path / "metadata.csv").touch()
    sets = yaml.safe_load((clone / "config/external.yaml").read_text())["external"]["sets"]
    sets["figure1"]["sources"].append(
        {"name": "metadata.csv", "local": str(tmp_path / "metadata.csv")}
    )
    path = tmp_path / "sets.yaml"
    path.write_text(yaml.safe_dump({"external": {"sets": sets}}))
    off = planned(clone, "all", config=None)
    on = planned(clone, "all", config=path)
    assert {rule: n - off.get(rule, 0) for rule, n in on.items() if n != off.get(rule)} == {
        "download": 2,
        "link_local": 1,
        "list_external": 2,
        "prepare_external": 1,
        "predict_external": 1,
    }


def test_replicates_share_what_comes_before_the_split(clone):
    off = planned(clone, "all", config=None)
    on = planned(clone, "all", "--config", "replicates=3", config=None)
    more = {rule: number - off.get(rule, 0) for rule, number in on.items()}
    assert {rule: number for rule, number in more.items() if number} == {
        "split_covid19": 3,
        "find_words": 3,
        "prepare_covid19": 3,
        "augment_replicate": 3 * 2,
        "build_replicate": 5 * 3 * 3,
        "train_replicate": 5 * 3 * 3 * 4,
        "predict": 5 * 3 * 3,
        "collect_replicates": 1,
    }


def test_assumptions_share_what_comes_before_they_differ(clone):
    study = "results/netA/predictions.csv"
    own = planned(clone, study, config=None)
    with_all = planned(clone, "results/assumptions/summary.csv", config=None)
    new = {"prepare_assumption", "augment_assumption", "build_assumption", "train_assumption"}
    assert with_all.keys() - own.keys() == new | {"collect_assumptions"}
    assert {rule: with_all[rule] for rule in own} == own | {"predict": 1 + 8 + 8}
    assert with_all["prepare_assumption"] == 1 and with_all["build_assumption"] == 2, "two seeds"

    def more(*names):
        files = [f"results/assumptions/{name}/predictions.csv" for name in names]
        jobs = planned(clone, study, *files, config=None)
        more = {rule: number - own.get(rule, 0) for rule, number in jobs.items()}
        return {rule: number for rule, number in more.items() if number}

    decay = "phases.2.weight_decay=0"
    assert more("text_boxes=none", decay, f"{decay}+text_boxes=none") == {
        "train_assumption": 3,
        "prepare_assumption": 1,
        "predict": 3,
    }
    assert more("fill=128+seed=1", "fill=128+seed=2") == {
        "build_assumption": 2,
        "augment_assumption": 2,
        "train_assumption": 2 * 4,
        "predict": 2,
    }


def test_assumptions_are_options_of_their_steps(clone):
    net = "results/assumptions/fill=128+frozen_batch_norm=train+phases.2.weight_decay=0+seed=1"
    own = "results/netA/predictions.csv"
    run = snakemake(
        clone, "--dry-run", "--printshellcmds", f"{net}/predictions.csv", own, config=None
    )
    commands = [line for line in run.stdout.splitlines() if "Shell command: " in line]

    def changed(script, option, ours, theirs):
        """Whether each command of the net, and of the study's own, has its value of an option."""
        of_script = [line for line in commands if f"/{script}.py" in line]
        own = [line for line in of_script if "assumptions/" not in line]
        others = [line for line in of_script if "assumptions/" in line]
        assert own and others
        has = [all(f" {option} {value} " in f"{line} " for line in lines)
               for lines, value in ((others, ours), (own, theirs))]  # fmt: skip
        return all(has)

    assert changed("augment", "--fill", 128, 0)
    assert changed("augment", "--seed", 0, 0), "that of the drawn variants stays"
    assert changed("build_net", "--seed", 1, 0)
    assert changed("train_phase", "--seed", 1, 0)
    assert changed("train_phase", "--frozen-batch-norm", "train", "eval")
    decays = [
        re.search(r"--weight-decay (\S+)", line)[1]
        for line in commands
        if "/train_phase.py" in line and "assumptions/" in line
    ]
    assert sorted(decays) == ["0", "0", "0.01", "0.01"], "phase 2, as phase 4"


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("augmentation.fil", [128], "config: augmentation.fil: unknown key; did you mean 'fill'?"),
        ("augmentation.fill", [300], "config: augmentation.fill: 300 is greater than"),
        ("covid19.split_by", ["patient"], "config: assumptions.alternatives: 'covid19.split_by'"),
        ("covid19_training.phases.9.epochs", [1], "config: assumptions.alternatives.covid19_trai"),
        ("augmentation.shift_x,shift_y", [[1]], "[1] fits no setting"),
    ],
)
def test_alternatives_are_settings(clone, tmp_path, key, values, message):
    def change(settings):
        settings["assumptions"] = {"alternatives": {key: values}}

    target, settings = "results/assumptions/summary.csv", overlay(clone, tmp_path, change)
    run = snakemake(clone, "--dry-run", target, config=settings)
    assert run.returncode == 1
    assert message in run.stdout


def test_assumptions_can_be_turned_on_and_are_those_of_the_overlay(clone, tmp_path):
    def change(settings):
        settings["assumptions"] = {"alternatives": {"augmentation.fill": [7]}}

    target, settings = "results/assumptions/summary.csv", overlay(clone, tmp_path, change)
    flag = "--config", "assumptions=true"
    run = snakemake(clone, "--dry-run", target, *flag, config=settings)
    assert run.returncode == 0, run.stdout
    assert "assumptions/fill=7/" in run.stdout and "assumptions/fill=128" not in run.stdout


def test_changed_recipe_of_an_environment_hides_no_other_job(clone):
    jobs = planned(clone, "all", "--forcerun", "make_environment", config=None)
    assert jobs["train_phase"] == 5 * 4


def test_lint(clone):
    run = snakemake(clone, "--lint", config=None)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    "target", ["results/netZ/confusion.csv", "results/netC/phase9/history.csv"]
)
def test_unknown_net_or_phase_has_no_rule(clone, target):
    run = snakemake(clone, "--dry-run", target)
    assert run.returncode == 1
    assert "No rule to produce" in run.stdout or "Missing" in run.stdout
    assert target in run.stdout


# Mistakes in the configuration


def misspell_phase(settings):
    settings["covid19_training"]["phases"][1]["lerning_rate"] = 0.1


def misspell_section(settings):
    settings["augmentaton"] = {}


def wrong_type(settings):
    settings["nets"]["netC"]["phases"] = [
        {"trainable": "all", "epochs": "two", "learning_rate": 1, "weight_decay": 0, "patience": 0}
    ]


def unknown_start(settings):
    settings["nets"]["netB"]["start"] = "chestxray41"


def unknown_output(settings):
    settings["nets"]["netE"]["keep_output_neurons"] = {"viral_pneumonia": "Flu"}


def odd_size(settings):
    settings["image_size"] = 100


def no_checked_method(settings):
    settings["heatmaps"]["methods"] = ["epsilon"]


def misspell_set(settings):
    settings["external"]["sets"]["second_hospital"]["tabel"] = {}


def two_sources_of_a_set(settings):
    settings["external"]["sets"]["second_hospital"]["sources"] *= 2


def missing_source(settings):
    settings["sources"]["covid19"][0]["local"] = "elsewhere/covid19"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            misspell_phase,
            "config: covid19_training.phases.1.lerning_rate: unknown key; "
            "did you mean 'learning_rate'?",
        ),
        (misspell_section, "config: augmentaton: unknown key; did you mean 'augmentation'?"),
        (wrong_type, "config: nets.netC.phases.0.epochs: 'two' is not of type 'integer'"),
        (unknown_start, "config: nets.netB.start: 'chestxray41'; expected one of"),
        (unknown_output, "config: nets.netE.keep_output_neurons.viral_pneumonia: chexnet has no"),
        (odd_size, "config: image_size: 100 is not a multiple of 32"),
        (no_checked_method, "config: heatmaps.methods: expected preset_a_flat or"),
        (misspell_set, "config: external.sets.second_hospital.tabel: unknown key; did you mean"),
        (two_sources_of_a_set, "external.sets.second_hospital.sources: two are called 'second_h"),
        (missing_source, "config: sources.covid19: covid19: no such file or folder: "),
    ],
)
def test_config_mistake_is_one_clear_line(clone, tmp_path, change, message):
    run = snakemake(clone, "--dry-run", "all", config=overlay(clone, tmp_path, change))
    assert run.returncode == 1
    assert message in run.stdout
    assert "Traceback" not in run.stdout


# Steps that fail


def test_wrong_sum_stops_and_leaves_nothing(study, tmp_path):
    def change(settings):
        settings["sources"]["chestxray14"][1]["md5"] = "0" * 32

    target = "results/downloads/chestxray14/images_001.tar.gz"
    run = snakemake(
        study, target, "--directory", str(tmp_path), config=with_phantoms(study, tmp_path, change)
    )
    assert run.returncode == 1
    assert f"expected {'0' * 32}" in run.stdout
    assert not (tmp_path / target).exists()


def test_too_few_images_of_a_class(study, tmp_path):
    def change(settings):
        settings["covid19"]["test_images_per_class"] = 9

    target = "results/data/covid19/split.csv"
    run = snakemake(
        study, target, "--directory", str(tmp_path), config=with_phantoms(study, tmp_path, change)
    )
    assert run.returncode == 1
    assert "class covid19: 9 images give" in run.stdout
    assert not (tmp_path / target).exists()


def with_phantoms(study, tmp_path, change):
    """An overlay for a run elsewhere, on the phantoms that the study has drawn."""

    def move(settings):
        change(settings)
        external = [given["sources"] for given in settings["external"]["sets"].values()]
        for sources in [*settings["sources"].values(), *external]:
            for source in sources:
                source["local"] = str(study / source["local"])
        for key in ("lateral_views", "text_boxes", "masks"):
            settings["covid19"][key] = str(study / settings["covid19"][key])

    return overlay(study, tmp_path, move)


def test_as_a_module_of_another_workflow(study, tmp_path):
    settings = with_phantoms(study, tmp_path, lambda settings: settings.pop("phantoms"))
    target = "results/data/covid19/split.csv"
    (tmp_path / "Snakefile").write_text(
        f"""
configfile: {str(settings)!r}
module covid19:
    snakefile: {str(study / "Snakefile")!r}
    config: config
use rule * from covid19 as covid19_*
rule count:
    default_target: True
    input: {target!r}
    output: "lines.txt"
    shell: "wc -l < {{input}} > {{output}}"
"""
    )
    assert planned(tmp_path, "covid19_all", config=None)["covid19_train_phase"] == 12
    run = snakemake(tmp_path, "--cores", "2", config=None)
    assert run.returncode == 0, run.stdout[-3000:]
    assert (tmp_path / target).read_bytes() == (study / target).read_bytes()


def test_where_the_catalogue_looks_for_the_workflow(clone):
    jobs = planned(clone, "--snakefile", "workflow/Snakefile", config=None)
    assert jobs["train_phase"] == 5 * 4
    assert (clone / "config/README.md").exists() and (clone / "LICENSE").exists()


def test_deployed_as_snakedeploy_does(clone, tmp_path):
    """A folder with copies of config/ and profiles/, and the workflow as a module."""
    for name in ("config", "profiles"):
        shutil.copytree(clone / name, tmp_path / name)
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/Snakefile").write_text(
        f"""
configfile: "config/config.yaml"
module covid19:
    snakefile: {str(clone / "workflow/Snakefile")!r}
    config: config
use rule * from covid19
"""
    )
    assert planned(tmp_path, config=None)["train_phase"] == 5 * 4
    settings = tmp_path / "config/config.yaml"
    phase = "{trainable: all, epochs: 1, learning_rate: 1, weight_decay: 0, patience: 0}"
    settings.write_text(f"nets: {{netA: {{phases: [{phase}]}}}}")
    assert planned(tmp_path, config=None)["train_phase"] == 4 * 4 + 1
    settings.write_text("image_sizes: 64")
    assert "did you mean 'image_size'" in snakemake(tmp_path, "-n", config=None).stdout


def test_cache_between_two_folders(tmp_path, monkeypatch):
    """The second makes none of what is cached, has the same bytes, and tells where from."""
    monkeypatch.setenv("SNAKEMAKE_OUTPUT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    targets = [
        "results/pretrained/chestxray14/model.safetensors",
        "results/pretrained/chexnet/model.safetensors",
        "results/data/covid19/augmented/train.npy",
    ]
    stored = {}
    for name in ("first", "second"):
        folder = copy_workflow(tmp_path / name)
        run = snakemake(folder, *targets, "--cache", "--cores", "2")
        assert run.returncode == 0, run.stdout[-3000:]
        stored[name] = run.stdout.count("Moving output file")
    assert stored["first"] > 20 and not stored["second"]
    sidecars = [f"results/provenance/jobs/{path.partition('/')[2]}.json" for path in targets]
    for path in targets + sidecars:
        assert (tmp_path / "first" / path).read_bytes() == (folder / path).read_bytes(), path


# Folders and variables of other people


def test_blanks_and_apostrophes_in_paths(study, tmp_path):
    """In the clone's path, in those of lists and sources, and started in another folder."""
    clone = copy_workflow(tmp_path / "My Drive" / "it's here")
    given = tmp_path / "my 'lists' & (files) of $HOME"
    shutil.copytree(study / "phantoms", given)
    shutil.copytree(given / "covid19/NORMAL", given / "originals")
    labels = [row for row in read(given / "chestxray14/Data_Entry_2017_v2020.csv")]
    for name, digits in (("train val.txt", "02468"), ("test.txt", "13579")):
        images = [row["Image Index"] for row in labels if row["Patient ID"][-1] in digits]
        (given / name).write_text("\n".join(images))

    def change(settings):
        external = [given["sources"] for given in settings["external"]["sets"].values()]
        for sources in [*settings["sources"].values(), *external]:
            for source in sources:
                source["local"] = str(given / source["local"].removeprefix("phantoms/"))
        settings["chestxray14"] = {"lists": [str(given / "train val.txt"), str(given / "test.txt")]}
        settings["covid19"] |= {"originals": str(given / "originals")}
        for key in ("lateral_views", "text_boxes", "masks"):
            settings["covid19"][key] = str(given / f"{key}.csv")

    of_set = "results/data/external/second_hospital/manifest.csv"
    targets = ["results/data/counts.csv", "results/data/covid19/text_boxes.csv", of_set]
    (tmp_path / "a run").mkdir()
    run = snakemake(
        tmp_path / "a run",
        *targets,
        "--snakefile",
        str(clone / "Snakefile"),
        config=overlay(clone, tmp_path, change),
    )
    assert run.returncode == 0, run.stdout[-6000:]
    for target in (*targets[1:], "results/data/covid19/train.npy.sha256"):
        assert (tmp_path / "a run" / target).read_bytes() == (study / target).read_bytes()


# The study that was built


def test_every_net_has_its_results(study):
    for net in NETS:
        rows = read(study / f"results/{net}/confusion.csv")
        assert [row["class"] for row in rows] == ["normal", "viral_pneumonia", "covid19"]
        total = sum(
            int(row[name]) for row in rows for name in ("normal", "viral_pneumonia", "covid19")
        )
        assert total == 12
        backends = read(study / f"results/{net}/conversion.csv")
        assert [row["backend"] for row in backends] == ["torch", "onnxruntime", "keras"]
        assert {row["disagreements"] for row in backends} == {"0"}


def test_predictions_cover_phases_and_versions(study):
    rows = read(study / "results/netC/predictions.csv")
    assert {(row["phase"], row["version"]) for row in rows} == {
        (phase, version) for phase in "123" for version in ("edited", "unedited")
    }
    assert len(rows) == 3 * 2 * 12


def test_published_net_says_what_it_is(study):
    for net in NETS:
        folder = study / f"results/{net}"
        record = json.loads((folder / "model.json").read_text())
        assert record["outputs"] == ["normal", "viral_pneumonia", "covid19"]
        assert record["test"]["n"] == 12
        for name, digest in record["sha256"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest


def test_model_card_holds_scores_and_findings(study):
    for net in NETS:
        text = (study / f"results/{net}/model_card.md").read_text()
        row = read(study / f"results/{net}/summary.csv")[0]
        assert f"Accuracy {float(row['accuracy']):.4f} [" in text
        assert all(row["result"] in text for row in read(study / "results/audits/audits.csv"))


def test_heatmaps_are_checked_by_a_second_implementation(study):
    rows = read(study / "results/netC/heatmaps/agreement.csv")
    assert len(rows) == 2 * 4
    assert min(float(row["rank_correlation"]) for row in rows) >= 0.995
    assert len(read(study / "results/netC/heatmaps/test_set.csv")) == 3 * 12
    assert len(read(study / "results/netC/heatmaps/randomised.csv")) == 3 * 3 * 2


def test_heatmaps_are_compared_with_boxes_and_masks(study):
    """By every net; the phantoms say where their marks are."""
    files = {net: ("class", f"results/{net}/localisation.csv") for net in NETS}
    for name in ("chestxray14", "chexnet"):
        files[name] = ("finding", f"results/pretrained/{name}/localisation.csv")
    for net, (kind, path) in files.items():
        rows = read(study / path)
        over_all = {row["method"]: row for row in rows if row[kind] == "all"}
        assert {"preset_a_flat", "gaussian", "edges", "random"} <= set(over_all)
        assert all(0 < float(row["chance"]) < 0.5 and int(row["n"]) > 0 for row in rows)
        assert float(over_all["gaussian"]["beats_gaussian"]) == 0.5
        assert (study / f"results/figures/localisation_{net}.svg").exists()
    classes = {row["class"] for row in read(study / "results/netA/localisation.csv")}
    assert classes == {"viral_pneumonia", "covid19", "all"}


@pytest.mark.parametrize(
    ("section", "key", "target"),
    [
        ("sources", "boxes", "results/pretrained/chestxray14/localisation.csv"),
        ("covid19", "masks", "results/netA/localisation.csv"),
    ],
)
def test_without_boxes_or_masks_nothing_is_compared_with_them(
    clone, tmp_path, section, key, target
):
    def change(settings):
        settings[section][key] = [] if key == "boxes" else None

    path = overlay(clone, tmp_path, change)
    jobs = planned(clone, "all", config=path)
    assert {"boxes": "localise_pretrained", "masks": "localise"}[key] not in jobs
    run = snakemake(clone, "--dry-run", target, config=path)
    assert run.returncode == 1 and f"config: {section}.{key}: empty; expected" in run.stdout


def test_published_numbers_stand_beside_ours(study):
    rows = read(study / "results/tables/published.csv")
    assert [row["study"] for row in rows][: len(NETS)] == NETS
    assert any("COVID-Net" in row["study"] for row in rows)
    findings = read(study / "results/tables/aurocs.csv")
    assert len(findings) == 15 + 1, "findings, No Finding and the mean"
    assert {row["finding"]: row["chexnet_published"] for row in findings}["Pneumonia"] == "0.768"


def test_no_audit_is_skipped(study):
    rows = read(study / "results/audits/audits.csv")
    scripts = ROOT.glob("workflow_scripts/audit_*.py")
    names = {path.stem.removeprefix("audit_") for path in scripts}
    assert {row["audit"] for row in rows} == names | {"external"}
    gates = {row["audit"]: row["gate"] for row in rows}
    assert gates["selection"] == "pass"
    assert gates["patients"] == "report", "most patients of the COVID-19 images are not known"
    for name in names:
        assert (study / f"results/audits/{name}.svg").stat().st_size


def test_audits_name_each_array_with_its_table(study):
    """A changed table reruns the audit that reads it, and is in its sidecar."""
    arrays = set()
    names = [row["audit"] for row in read(study / "results/audits/audits.csv")]
    for name in set(names) - {"external"}:
        path = study / f"results/provenance/jobs/audits/{name}.csv.json"
        sidecar = json.loads(path.read_text())
        inputs = [Path(file) for file in sidecar["inputs"]]
        arrays |= {file for file in inputs if file.suffix == ".npy"}
        for table in (file.with_suffix(".csv") for file in inputs if file.suffix == ".npy"):
            assert table in inputs, name
            assert str(table) in str(sidecar["command"]), name
    assert len(arrays) > 5


def test_nets_are_tried_on_a_second_hospital(study):
    rows = read(study / "results/tables/external.csv")
    assert [(row["net"], row["set"]) for row in rows[:2]] == [
        ("netA", "internal"), ("netA", "second_hospital"),
    ]  # fmt: skip
    assert len(rows) == 2 * len(NETS) and {row["n"] for row in rows} == {"12"}
    for row, summary in zip(rows[::2], read(study / "results/tables/summary.csv"), strict=True):
        for score in ("accuracy", "accuracy_low", "macro_auc", "macro_auc_high"):
            assert float(row[score]) == pytest.approx(float(summary[score])), "as of all nets"
    counts = read(study / "results/external/confusion.csv")
    classes = ("normal", "viral_pneumonia", "covid19")
    assert [row["class"] for row in counts[:3]] == list(classes)
    assert sum(int(row[name]) for row in counts for name in classes) == 2 * 12 * len(NETS)
    left_out = read(study / "results/data/external/second_hospital/left_out.csv")
    assert [row["reason"] for row in left_out] == ["labelled 'inconclusive'"] * 2
    answers = {row["asks"]: row["answer"] for row in read(study / "results/audits/checklists.csv")}
    assert answers["external testing"] == "met"


def test_known_patients_are_counted_and_the_others_named(study):
    counts = {row["what"]: row["ours"] for row in read(study / "results/data/counts.csv")}
    results = {row["audit"]: row["result"] for row in read(study / "results/audits/audits.csv")}
    assert counts["images_of_known_patients"] == "9", "of ten, one is lateral"
    assert counts["patients_in_several_splits"] == "0"
    assert "the patient of 24 of 33 images is not known" in results["patients"]


def test_the_databases_tables_reach_the_metadata(study):
    """By which patients and lateral views are found."""
    metadata = read(study / "results/data/covid19/metadata.csv")
    covid19 = [row for row in metadata if row["class"] == "covid19"]
    assert all(row["patient_id"] for row in covid19) and len(covid19) == 10
    assert "L" in "".join(row["views"] for row in covid19)


def test_evidence_of_checklists_opens_from_disk(study):
    page = study / "results/audits/checklists.html"
    links = re.findall(r'href="([^"]+)"', page.read_text())
    assert len(links) > 100
    assert all((page.parent / link).exists() for link in links)
    answers = {row["answer"] for row in read(page.with_suffix(".csv"))}
    assert answers == {"met", "not met", "not applicable"}


def test_pretrained_net_says_where_it_is_from(study):
    text = (study / "results/pretrained/chexnet/model.json").read_text()
    assert "not Zech's" in text


# What a reviewer opens and asks


@pytest.fixture(scope="session")
def report(study, tmp_path_factory):
    run = snakemake(study, "all", "--report", "results/report.zip")
    assert run.returncode == 0, run.stdout
    folder = tmp_path_factory.mktemp("report")
    shutil.unpack_archive(study / "results/report.zip", folder)
    return folder / "report/report.html"


@pytest.mark.parametrize("width", [1200, 400])
def test_first_page_of_the_report_has_scores_and_findings(study, report, width):
    with opened(report, width) as page:
        page.get_by_text("Results of the audits").wait_for()
        text = page.inner_text("body")
        for part in ("h1", "table >> nth=0"):
            box = page.locator(f"#app .prose {part}").bounding_box()
            assert box["y"] >= 0 and box["x"] + box["width"] <= width, "nothing is cut off"
    for row in read(study / "results/tables/headline.csv"):
        assert row["accuracy"] in text
    for row in read(study / "results/audits/audits.csv"):
        assert " ".join(row["result"].split()) in " ".join(text.split())
    for row in read(study / "results/external/first_page.csv"):
        assert row["net"] in text and row["accuracy"] in text
    for words in ("Problems with", "System Message"):
        assert words not in text, "what docutils says of a missing file, and of its own errors"


def test_report_is_clicked_through(report):
    shown = {
        "1 Data": "Image counts",
        "2 Training": "Training curves",
        "3 Results": "Table 3: metrics",
        "4 Explanation": "Word experiment",
        "5 Audits": "checklists",
        "6 Provenance": "Jobs",
    }
    with opened(report) as page:
        for category, item in shown.items():
            page.reload()
            page.get_by_text(category, exact=True).first.click()
            page.get_by_text(item, exact=True).first.wait_for()


@pytest.mark.parametrize("width", [1200, 400])
def test_gallery_is_clicked_through(study, width):
    rows = [row for row in read(study / "results/netC/predictions.csv") if row["phase"] == "3"]
    wrong = {
        version: sum(row["class"] != row["predicted"] for row in rows if row["version"] == version)
        for version in ("edited", "unedited")
    }
    with opened(study / "results/netC/gallery.html", width) as page:
        cards, pictures = page.locator("article"), page.locator("figure img")
        assert cards.count() == 12 and pictures.count() == 24
        page.select_option("#output", "covid19")
        page.select_option("#method", "preset_a_flat")
        assert pictures.nth(1).get_attribute("src") == "gallery/0_preset_a_flat_covid19.png"
        pictures.nth(1).scroll_into_view_if_needed()
        loaded = "image => image.decode().then(() => image.naturalWidth)"
        assert pictures.nth(1).evaluate(loaded) == 64
        page.uncheck("#heatmap")
        assert pictures.count() == 12
        page.check("#errors")
        assert cards.count() == wrong["edited"]
        page.select_option("#version", "unedited")
        assert cards.count() == wrong["unedited"]
        page.uncheck("#errors")
        page.select_option("#class", "normal")
        assert cards.count() == 4
        assert page.inner_text("#count") == "4 of 12 images"


def test_every_job_has_its_sidecar(study):
    made = [row["output"] for row in read(study / "results/provenance/jobs.csv")]
    assert len(made) > 120
    for output in made:
        assert (study / f"results/provenance/jobs/{output.removeprefix('results/')}.json").exists()
    for path in ("results/netC/metrics.csv", "results/tables/table3.csv"):
        run = step(study, "trace_result.py", path)
        assert run.returncode == 0, run.stderr
        assert "phantoms/covid19  sha256 " in run.stdout, "the images"
        assert "train_phase.py --train" in run.stdout, "settings"
        assert os.uname().nodename in run.stdout, "machine"


def test_results_are_verified(study, tmp_path):
    run = step(study, "verify_results.py")
    assert run.returncode == 0, run.stdout + run.stderr
    path = study / "results/netC/metrics.csv"
    kept = shutil.copy2(path, tmp_path)  # with its age
    path.write_bytes(path.read_bytes().replace(b"normal", b"Normal", 1))
    try:
        run = step(study, "verify_results.py")
    finally:
        shutil.copy2(kept, path)
    assert run.returncode == 1
    assert "results/netC/metrics.csv is not what its sidecar says" in run.stdout
    assert "results/tables/table3.csv depends on it" in run.stdout


def test_table_is_made_again_with_the_same_bytes(study, tmp_path):
    folder = ["--folder", str(tmp_path)]
    run = step(study, "rerun_result.py", "results/tables/table3.csv", "--dry-run", *folder)
    assert "53 of 53 jobs to run" in run.stdout and " min by the recorded seconds" in run.stdout
    words = ["results/tables/table3.csv", "--from", "predictions"]
    run = step(study, "rerun_result.py", *words, *folder)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "same bytes        results/tables/table3.csv" in run.stdout
    assert "23 of 23 files have the same bytes (100.0%)" in run.stdout
    assert not (study / "rerun").exists()


def test_script_of_a_result_runs_without_snakemake(study, tmp_path):
    run = step(study, "trace_result.py", "results/data/covid19/split.csv", "--script")
    clone = copy_workflow(tmp_path / "clone")
    done = subprocess.run(["bash"], input=run.stdout, cwd=clone, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("results/data/covid19/split.csv: OK\n")
    assert not (clone / ".snakemake").exists()


def test_signed_results_are_passed_on(study, tmp_path):
    """The crate has the signature, too: see test_run_is_a_valid_crate."""
    key, archive = tmp_path / "key", tmp_path / "a.zip"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    (tmp_path / "signers").write_text(f"ann {key.with_suffix('.pub').read_text()}")
    for words in (
        ["sign_results.py", "--key", key],
        ["verify_results.py", "--signers", tmp_path / "signers"],
        ["archive_results.py", "--out", archive],
        ["verify_results.py", "--signers", tmp_path / "signers", "--archive", archive],
    ):
        run = step(study, *words)
        assert run.returncode == 0, run.stdout + run.stderr
    with zipfile.ZipFile(archive) as file:
        names = file.namelist()
        pages = [file.read(name) for name in names if name.endswith((".svg", ".html"))]
    for name in ("tables/table3.csv", "netA/model.onnx", "provenance/config.json"):
        assert f"results/{name}" in names
    pictures = [name for name in names if name.endswith((".png", ".jpg", ".npy", ".npz"))]
    assert pictures == ["workflow/report/demo.png"], "of phantoms, for the README"
    assert not [page for page in pages if b"data:image/png" in page or b"data:image/jpeg" in page]


def step(study, name, *arguments):
    """Run a step by hand in a study's folder."""
    command = [ROOT / os.environ["TORCH_PYTHON"], f"workflow_scripts/{name}", *arguments]
    return subprocess.run(command, cwd=study, text=True, capture_output=True)


def test_run_is_a_valid_crate(study, tmp_path, monkeypatch):
    """By the validator's Provenance Run Crate profile, which RO-Crate's context is served to.

    rocrate brings the context of RO-Crate 1.3, which differs from 1.1's in the prefix of
    Bioschemas' terms.
    """
    packages = (ROOT / os.environ["TORCH_PYTHON"]).parent.parent.glob("lib/*/site-packages")
    context = next(packages) / "rocrate/data/ro-crate.jsonld"
    content = context.read_bytes().replace(b"bioschemas.org/terms/", b"bioschemas.org/")

    class Served(urllib.request.HTTPSHandler):
        def https_open(self, request):
            headers = email.message.Message()
            headers["Content-Type"] = "application/ld+json"
            return urllib.response.addinfourl(io.BytesIO(content), headers, request.full_url, 200)

    def send(self, request, **_):
        raw = urllib3.HTTPResponse(io.BytesIO(content), status=200, preload_content=False)
        response = requests.Response()
        response.status_code, response.raw, response.url = 200, raw, request.url
        response.headers["Content-Type"] = "application/ld+json"
        return response

    monkeypatch.setattr(urllib.request, "_opener", urllib.request.build_opener(Served))
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send)
    settings = services.ValidationSettings(
        rocrate_uri=str(study / "results"),
        profile_identifier="provenance-run-crate-0.5",
        no_cache=True,
    )
    found = services.validate(settings)
    assert not [issue.message for issue in found.get_issues()]


# What reruns, and what doesn't: these tests change the study, those before don't


def test_finished_run_has_nothing_to_do(study):
    run = snakemake(study, "--dry-run", "all")
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout


def test_results_beside_a_fresh_clone_rerun_nothing(study, tmp_path):
    """What Snakemake keeps about a run, in .snakemake, is not there; scripts are new."""
    clone = copy_workflow(tmp_path / "clone")
    for folder in ("results", "phantoms"):
        shutil.copytree(study / folder, clone / folder, symlinks=True)
    for path in [*clone.glob("workflow_scripts/**/*.py"), *clone.glob("rules/*")]:
        path.touch()
    run = snakemake(clone, "--dry-run", "all")
    assert "Nothing to be done" in run.stdout, run.stdout[-3000:]


def test_age_of_files_reruns_nothing(study):
    """As after a git checkout, or where a copy gave every file another time."""
    files = [path for path in study.rglob("*") if path.is_file() and ".venvs" not in path.parts]
    random.Random(0).shuffle(files)
    for number, path in enumerate(files):
        os.utime(path, (time.time() - number,) * 2)
    assert "Nothing to be done" in snakemake(study, "--dry-run", "all").stdout


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("workflow_scripts/plot_accuracies.py", {"plot_accuracies"}),
        ("workflow_scripts/audit_text.py", {"audit"}),
        ("README.md", set()),
        ("report/captions/figure1.rst", set()),
    ],
)
def test_edit_reruns_what_it_makes(study, file, rules):
    before = (study / file).read_text()
    (study / file).write_text(before + "\n# edited\n")
    try:
        run = snakemake(study, "--dry-run", "all")
        jobs = planned(study, "all")
    finally:
        (study / file).write_text(before)
    assert jobs.keys() & rules == rules
    follow = {"all", "collect_audits", "write_checklists", "write_crate", "write_model_card"}
    assert jobs.keys() - rules <= follow
    changed = re.search(r"Params have changed.* before: '\w{16}' now: '\w{16}'", run.stdout)
    assert bool(changed) == bool(rules), "the reason: another digest of the code"


def test_learning_rate_of_phase_3_reruns_phase_3_and_what_follows(study, tmp_path):
    def change(settings):
        settings["covid19_training"]["phases"][2]["learning_rate"] = 0.002

    jobs = planned(study, "all", config=overlay(study, tmp_path, change))
    assert jobs.pop("train_phase") == 3, "phase 3 of nets A, C and E; others have fewer phases"
    assert not jobs.keys() & {
        "download",
        "augment",
        "pretrain_phase",
        "build_net",
        "prepare_covid19",
    }
    assert jobs["predict"] == jobs["export_onnx"] == 3


def test_replicate_is_another_split_and_seed(study):
    target = "results/replicates/split2_seed1/netF/confusion.csv"
    assert "pretrain_phase" not in planned(study, target)
    run = snakemake(study, target)
    assert run.returncode == 0, run.stdout
    folders = [study / f"results/data/{name}" for name in ("covid19", "covid19_split2")]
    tests = [
        {row["image"] for row in read(folder / "split.csv") if row["split"] == "test"}
        for folder in folders
    ]
    assert len(tests[0]) == len(tests[1]) and tests[0] != tests[1]
    sums = [
        json.loads((study / f"results/provenance/jobs/{net}/initial.safetensors.json").read_text())
        for net in ("netF", "replicates/split2_seed1/netF")
    ]
    assert set(sums[0]["outputs"].values()) != set(sums[1]["outputs"].values()), "other weights"
    assert not list((study / target).parent.rglob("*.safetensors")), "weights are not kept"
    assert not (folders[1] / "augmented/train.npy").exists(), "nor variants"
    assert "Nothing to be done" in snakemake(study, "--dry-run", target).stdout


def test_deleted_intermediate_is_rebuilt_alone(study):
    target = study / "results/data/covid19/augmented/train.npy"
    before = target.read_bytes()
    target.unlink()
    run = snakemake(study, str(target.relative_to(study)))
    assert run.returncode == 0, run.stdout
    assert re.findall(r"rule: (\w+)\)", run.stdout, re.IGNORECASE) == ["augment"]
    assert target.read_bytes() == before, "the same seed gives the same bytes"
    assert "Nothing to be done" in snakemake(study, "--dry-run", "all").stdout


def test_same_seed_trains_the_same_bytes(study):
    target = study / "results/netA/phase2/checkpoint.safetensors"
    before = target.read_bytes()
    run = snakemake(study, str(target.relative_to(study)), "--forcerun", "train_phase")
    assert run.returncode == 0, run.stdout
    assert target.read_bytes() == before


def test_steps_see_nothing_of_the_users_python(study, tmp_path, monkeypatch):
    (tmp_path / "imagehash.py").write_text("raise ImportError('the user's own')")
    (tmp_path / "matplotlibrc").write_text("font.size: 30")
    for name, value in {
        "PYTHONPATH": tmp_path, "PYTHONSAFEPATH": 1, "MATPLOTLIBRC": tmp_path,
        "PIP_TARGET": tmp_path, "CONDA_PREFIX": tmp_path,
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    targets = ["results/data/covid19/manifest.csv", "results/figures/figure1.svg"]
    before = [(study / target).read_bytes() for target in targets]
    run = snakemake(
        study,
        *targets,
        "--forcerun",
        "inspect_covid19",
        "plot_accuracies",
        "--allowed-rules",
        "inspect_covid19",
        "plot_accuracies",
    )
    assert run.returncode == 0, run.stdout
    assert [(study / target).read_bytes() for target in targets] == before


# Environments


@pytest.mark.parametrize("name", ["torch", "keras"])
def test_conda_has_the_same_pins(name):
    pins = {
        line.split()[0].split(";")[0]
        for line in (ROOT / f"envs/{name}.txt").read_text().splitlines()
        if re.match(r"[A-Za-z0-9]", line)
    }
    packages = yaml.safe_load((ROOT / f"envs/{name}.yaml").read_text())["dependencies"]
    assert packages[0] == "python =3.11"
    assert set(packages[-1]["pip"]) == pins


HELP = """
import contextlib, io, runpy, sys
for script in sys.argv[1:]:
    sys.argv, shown = [script, "--help"], io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    assert "usage:" in shown.getvalue(), script
"""
KERAS_STEPS = {"convert_keras.py", "explain.py"}


@pytest.mark.parametrize("environment", ["TORCH_PYTHON", "KERAS_PYTHON"])
def test_every_step_has_help(environment):
    if environment not in os.environ:
        pytest.skip(f"{environment} is not set; make test sets it")
    steps = [
        str(path)
        for path in (ROOT / "workflow_scripts").glob("*.py")
        if (path.name in KERAS_STEPS) == (environment == "KERAS_PYTHON")
    ]
    command = [ROOT / os.environ[environment], "-c", HELP, *steps]
    scripts = {"PYTHONPATH": str(ROOT / "workflow_scripts")}
    run = subprocess.run(command, text=True, capture_output=True, env=os.environ | scripts)
    assert run.returncode == 0, run.stderr
