"""Rules as a reader relies on them: a command names every file that it reads or writes."""

import itertools
import re
import shlex

import pytest
import yaml

pytest.importorskip("snakemake")
from studies import ROOT, gpu_rules, overlay, planned, snakemake


def is_gate(path):
    """Whether a file only decides that a job runs: a checksum, or a check that has to pass."""
    names = (".sha256", "/auroc.csv", "/conversion.csv", "/agreement.csv")
    return path.endswith(names) or path == "results/downloads/covid19.csv"


def local_rules():
    """Rules that run where Snakemake runs."""
    files = [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]
    lists = [
        re.findall(r"^localrules:\n((?:    \w+,\n)+)", path.read_text(), re.M) for path in files
    ]
    return set(re.findall(r"\w+", " ".join(block for blocks in lists for block in blocks)))


def test_a_cluster_gets_few_jobs():
    """Of the real study; each waits in the queue. Four of them measure what heatmaps are worth."""
    jobs = planned(ROOT, "--forceall", "all", config=None)
    on_cluster = {rule: n for rule, n in jobs.items() if rule not in local_rules()}
    assert on_cluster["train_phase"] == 20
    assert sum(on_cluster.values()) <= 66, on_cluster


def test_a_site_can_name_the_gpu_of_every_rule_that_asks_for_one():
    profile = yaml.safe_load((ROOT / "slurm/config.yaml").read_text())
    assert profile["set-resources"].keys() == gpu_rules() - local_rules()


def words_of(command, option):
    """The words that follow an option, up to the next."""
    after = command[command.index(option) + 1 :]
    return list(itertools.takewhile(lambda word: not word.startswith("--"), after))


def test_commands_name_every_file():
    extra = "results/shortcut/curves.csv", "results/assumptions/summary.csv"
    run = snakemake(ROOT, "--dry-run", "--printshellcmds", "--forceall", "all", *extra)
    shell = [line.partition("Shell command: ")[2] for line in run.stdout.splitlines()]
    commands = [shlex.split(line) for line in shell if line]
    recorded = [command for command in commands if "--code" in command]
    assert len(recorded) > 120
    missing = set()
    for command in recorded:
        place = command.index("--")
        declared, run = command[:place], command[place + 1 :]
        script = next(word for word in run if word.endswith(".py"))
        named = {*run, *(word.partition("=")[2] for word in run)}
        files = [path for name in ("inputs", "outputs") for path in words_of(declared, f"--{name}")]
        missing |= {(script, path) for path in files if path not in named and not is_gate(path)}
    assert not missing, "\n".join(f"{script}: {path}" for script, path in sorted(missing))


def test_every_script_is_listed_once_under_its_rules():
    chapters = (ROOT / "workflow_scripts/README.md").read_text().split("\n## ")
    listed = {
        chapter.partition("\n")[0]: re.findall(r"^- `(\w+)\.py`: ", chapter, re.MULTILINE)
        for chapter in chapters
    }
    names = [name for names in listed.values() for name in names]
    assert sorted(names) == sorted(path.stem for path in ROOT.glob("workflow_scripts/*.py"))
    rules = re.findall(
        r'^include: "rules/(\w+)\.smk"', (ROOT / "Snakefile").read_text(), re.MULTILINE
    )
    order = [rule for rule in rules if rule in listed]
    assert [chapter for chapter in listed if chapter in rules] == order
    for chapter in order:
        steps = (ROOT / f"rules/{chapter}.smk").read_text()
        for name in listed[chapter]:
            step = "audit_{audit}" if name.startswith("audit_") else name
            assert re.search(rf'step\(\s*"{re.escape(step)}"', steps), (chapter, name)


@pytest.mark.parametrize(
    "lungs, masks, jobs",
    [
        ({"by": "auto"}, [{"name": "drawn", "local": "phantoms/lung_masks"}], {"train", "find"}),
        ({"by": "auto"}, [{"name": "drawn", "url": "https://example.org/masks.zip"}], set()),
        ({"by": "net"}, [{"name": "drawn", "url": "https://example.org/masks.zip"}],
         {"train", "find", "download"}),
        ({"by": "masks", "masks": "phantoms/lung_masks"}, [], {"find"}),
        ({"by": "auto"}, [], set()),
    ],
)  # fmt: skip
def test_where_lungs_are_from(tmp_path, lungs, masks, jobs):
    """By default from a net, where there are masks; local studies download none unasked."""

    def change(settings):
        settings["lungs"] = {"masks": None} | lungs
        settings["sources"]["lung_masks"] = masks

    path = overlay(ROOT, tmp_path, change)
    run = planned(ROOT, "--directory", tmp_path, "results/audits/nuisance.csv", config=path)
    names = {"train_lungs": "train", "find_lungs": "find", "download": "download"}
    assert {names[rule] for rule in run if rule in names} == jobs


@pytest.mark.parametrize(
    "lungs, masks, words",
    [
        ({"by": "net"}, [], "sources.lung_masks: empty; expected masks to train a net on"),
        ({"by": "masks"}, [], "lungs.masks: empty; expected a folder of masks"),
        ({"by": "auto"}, [{"name": "a", "local": "phantoms/lung_masks", "drawn_on": "b"}],
         "sources.lung_masks.a.drawn_on: 'b'; expected one of"),
    ],
)  # fmt: skip
def test_lungs_from_nothing_are_an_error(tmp_path, lungs, masks, words):
    def change(settings):
        settings["lungs"] = {"masks": None} | lungs
        settings["sources"]["lung_masks"] = masks

    run = snakemake(ROOT, "--dry-run", "all", config=overlay(ROOT, tmp_path, change))
    assert run.returncode and f"config: {words}" in run.stdout
