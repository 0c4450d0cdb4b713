"""The study on a real SLURM, and the faults of a cluster, each provoked for real: make test-slurm.

Takes about three quarters of an hour on two cores. A training that is hit by a fault has to end
with the bytes of one that wasn't.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from studies import copy_workflow, gpu_rules, overlay, read, snakemake

TARGET = "results/netF/phase1/checkpoint.safetensors"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    found = Cluster(tmp_path_factory.mktemp("slurm"))
    found.start()
    yield found
    found.stop()


@pytest.fixture
def healthy(cluster):
    """The cluster with all daemons running and no job left."""
    cluster.start()
    yield cluster
    cluster.run("scancel", "--user", cluster.values["user"], check=False)
    cluster.start()
    cluster.wait("jobs do not end", lambda: not cluster.run("squeue", "--noheader"), 60)


class Run:
    """A snakemake that submits the training of net F to the cluster, from its start to its end."""

    def __init__(self, cluster, folder, *options, target=TARGET):
        self.cluster, self.folder = cluster, folder
        command = [sys.executable, "-m", "snakemake", target, "--profile", "slurm"]
        command += ["--configfile", "tests/fault.yaml", *options]
        command += ["--slurm-init-seconds-before-status-checks", "5"]
        self.log = folder / f"run-{time.time_ns()}.log"
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=cluster.environment, stdout=log, stderr=log
            )

    def train(self, epochs=3):
        """Wait until so many epochs are trained; returns the SLURM job."""
        history = (self.folder / TARGET).with_name("history.csv")
        self.cluster.wait(
            "no epoch is trained", lambda: history.exists() and len(read(history)) >= epochs, 300
        )
        return self.cluster.run("squeue", "--noheader", "--format=%A").split()[0]

    def end(self, seconds=400):
        """Wait for the end: (exit code, what it said)."""
        code = self.process.wait(seconds)
        return code, self.log.read_text()


def prepare(folder, epochs):
    """A copy of the workflow whose next step is the training of net F, for so many epochs."""

    def change(settings):
        phase = {"trainable": "all", "learning_rate": 0.01, "weight_decay": 0, "patience": 0}
        settings["nets"]["netF"]["phases"] = [phase | {"epochs": epochs}]

    settings = overlay(folder, folder / "tests", change)
    settings.rename(folder / "tests/fault.yaml")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """What comes before the training of net F, done, and seconds that an epoch takes."""
    folder = copy_workflow(tmp_path_factory.mktemp("prepared") / "repository")
    prepare(folder, 20)
    run = snakemake(folder, TARGET, config="tests/fault.yaml")
    assert run.returncode == 0, run.stdout[-3000:]
    history = read((folder / TARGET).with_name("history.csv"))
    forget(folder)
    return folder, sum(float(row["seconds"]) for row in history[5:]) / len(history[5:])


@pytest.fixture(scope="module")
def studies(prepared, tmp_path_factory):
    """A function: seconds -> a copy whose training takes about so long, and what it ends with."""
    references = {}

    def study(seconds=45):
        original, per_epoch = prepared
        copy = tmp_path_factory.mktemp("study") / "repository"
        shutil.copytree(original, copy, symlinks=True)
        prepare(copy, round(seconds / per_epoch))
        if seconds not in references:
            run = snakemake(copy, TARGET, config="tests/fault.yaml")
            assert run.returncode == 0, run.stdout[-3000:]
            references[seconds] = result(copy)
            forget(copy)
        return copy, references[seconds]

    return study


def forget(folder):
    """Undo the training, and what Snakemake knows of it."""
    outputs = [TARGET, str(Path(TARGET).with_name("history.csv"))]
    run = snakemake(folder, "--cleanup-metadata", *outputs, config="tests/fault.yaml")
    assert run.returncode == 0, run.stdout
    shutil.rmtree((folder / TARGET).parent)


def result(folder):
    """What a training ends with: its weights, and its history without times."""
    history = read((folder / TARGET).with_name("history.csv"))
    kept = [
        {name: row[name] for name in row if name not in ("seconds", "images_per_second")}
        for row in history
    ]
    return (folder / TARGET).read_bytes(), kept


def states(cluster, folder):
    """States of a folder's jobs, by what they were for: [(comment, state, resources)]."""
    rows = cluster.run(
        "sacct", "--noheader", "--parsable2", "--allocations", "--allusers",
        "--format=WorkDir,Comment,State,AllocTRES",
    )  # fmt: skip
    table = [line.split("|") for line in rows.splitlines()]
    return [tuple(row[1:]) for row in table if row[0] == str(folder)]


# The study


def test_whole_study_gets_its_gpus_and_equals_a_local_one(healthy, tmp_path):
    local = copy_workflow(tmp_path / "local")
    remote = copy_workflow(tmp_path / "remote")
    run = snakemake(local, "all")
    assert run.returncode == 0, run.stdout[-3000:]
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "all"]
    command += ["--configfile", "tests/config.yaml"]
    command += ["--slurm-init-seconds-before-status-checks", "5"]
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=remote, env=healthy.environment, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr[-3000:]

    jobs = states(healthy, remote)
    print(f"{len(jobs)} jobs in {time.monotonic() - started:.0f} seconds")
    assert 40 < len(jobs) <= 60 and {state for _, state, _ in jobs} == {"COMPLETED"}
    for comment, _, resources in jobs:
        wants = comment.removeprefix("rule_").partition("_wildcards_")[0] in gpu_rules()
        assert re.findall(r"gres/gpu=(\d+)", resources) == ["1"] * wants, comment
    logs = [path.read_text() for path in (remote / "results/logs").rglob("*.log")]
    devices = re.findall(r"^device: .* SLURM_STEP_GPUS=(.*),", "\n".join(logs), re.MULTILINE)
    assert set(devices) == {"0", "1"}, "jobs side by side have a GPU each"

    different = [
        path
        for path in sorted((local / "results").rglob("*"))
        if path.is_file()
        and not {"logs", "benchmarks", "provenance"} & set(path.parts)
        and path.name != "ro-crate-metadata.json"
        and contents(path) != contents(remote / path.relative_to(local))
    ]
    assert not different


def contents(path):
    """A file's content, without how long things took."""
    if path.name in ("history.csv", "seconds.csv", "methods.csv"):
        return [
            {name: row[name] for name in row if name not in ("seconds", "images_per_second")}
            for row in read(path)
        ]
    if path.name == "methods.html":
        return re.sub(r'(<td class="seconds"[^>]*>)[^<]*', r"\1", path.read_text())
    return path.read_bytes()


def test_preflight_finds_that_locks_reach_jobs(healthy, tmp_path):
    folder = copy_workflow(tmp_path / "repository")
    command = [sys.executable, "-m", "snakemake", "--profile", "slurm", "preflight"]
    command += ["--configfile", "tests/config.yaml"]
    command += ["--slurm-init-seconds-before-status-checks", "5"]
    subprocess.run(command, cwd=folder, env=healthy.environment, check=True)
    found = {row["what"]: row["found"] for row in read(folder / "results/preflight.csv")}
    assert found["lock"] == "seen" and found["SLURM"].startswith("slurm")


# Faults


def test_cancelled_training_goes_on(healthy, studies):
    folder, expected = studies()
    run = Run(healthy, folder)
    healthy.run("scancel", run.train())
    code, said = run.end()
    assert code == 0, said[-3000:]
    found = [state.split()[0] for _, state, _ in states(healthy, folder)]
    assert found == ["CANCELLED", "COMPLETED"]
    assert result(folder) == expected


def test_training_goes_on_after_its_time_limit(healthy, studies):
    folder, expected = studies(110)
    run = Run(healthy, folder, "--set-resources", "train_phase:runtime=attempt")
    code, said = run.end()
    assert code == 0, said[-3000:]
    found = [state for _, state, _ in states(healthy, folder)]
    assert found[0] == "TIMEOUT" and found[-1] == "COMPLETED"
    assert result(folder) == expected


def test_killed_controller_s_job_is_kept(healthy, studies):
    folder, expected = studies()
    run = Run(healthy, folder)
    run.train()
    run.process.kill()
    run.process.wait()
    again = Run(healthy, folder)
    code, said = again.end()
    assert code == 1 and "Directory cannot be locked" in said
    command = [sys.executable, "slurm/orphans.py", "--wait"]
    done = subprocess.run(
        command, cwd=folder, env=healthy.environment, text=True, capture_output=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert "RUNNING rule_train_phase_wildcards_netF_1" in done.stdout
    assert snakemake(folder, "--unlock", config="tests/fault.yaml").returncode == 0
    code, said = Run(healthy, folder).end()
    assert code == 0 and "Nothing to be done" in said
    assert len(states(healthy, folder)) == 1
    assert result(folder) == expected


def test_killed_controller_s_job_can_be_cancelled(healthy, studies):
    folder, expected = studies()
    run = Run(healthy, folder)
    run.train()
    run.process.kill()
    run.process.wait()
    command = [sys.executable, "slurm/orphans.py", "--cancel"]
    subprocess.run(command, cwd=folder, env=healthy.environment, check=True, timeout=100)
    assert snakemake(folder, "--unlock", config="tests/fault.yaml").returncode == 0
    code, said = Run(healthy, folder).end()
    assert code == 0, said[-3000:]
    assert result(folder) == expected


def test_no_second_copy_trains_beside_an_orphan(healthy, studies):
    folder, expected = studies(70)
    run = Run(healthy, folder)
    orphan = run.train()
    run.process.kill()
    run.process.wait()
    assert snakemake(folder, "--unlock", config="tests/fault.yaml").returncode == 0
    code, said = Run(healthy, folder, "--retries", "0").end()
    assert code == 1
    assert "another process, maybe on another machine, trains the same" in said
    done = lambda: orphan not in healthy.run("squeue", "--noheader", "--format=%A").split()  # noqa: E731
    healthy.wait("the orphan does not end", done, 150)
    code, said = Run(healthy, folder).end()
    assert code == 0, said[-3000:]
    assert result(folder) == expected


def test_second_controller_is_refused(healthy, studies):
    folder, expected = studies()
    run = Run(healthy, folder)
    run.train()
    code, said = Run(healthy, folder).end()
    assert code == 1 and "Directory cannot be locked" in said
    code, said = run.end()
    assert code == 0, said[-3000:]
    assert result(folder) == expected


def test_slurmd_killed_and_back_is_not_noticed(healthy, studies):
    folder, expected = studies()
    run = Run(healthy, folder)
    run.train()
    healthy.kill("slurmd")
    time.sleep(5)
    healthy.start_daemon("slurmd")
    code, said = run.end()
    assert code == 0, said[-3000:]
    assert len(states(healthy, folder)) == 1
    assert result(folder) == expected


def test_lost_node_s_training_is_done_by_the_next_run(healthy, studies):
    """The plugin avoids a node that failed, and here is no other: the run ends with an error."""
    folder, expected = studies(70)
    run = Run(healthy, folder)
    run.train()
    healthy.kill("slurmd")
    code, said = run.end()
    assert code == 1 and "NODE_FAIL" in said
    healthy.start()
    code, said = Run(healthy, folder).end()
    assert code == 0, said[-3000:]
    assert result(folder) == expected


@pytest.mark.parametrize("daemon", ["slurmctld", "slurmdbd"])
def test_outage_of_controller_or_accounting(healthy, studies, daemon):
    folder, expected = studies(70)
    run = Run(healthy, folder)
    run.train()
    healthy.kill(daemon)
    time.sleep(40)
    healthy.start_daemon(daemon)
    code, said = run.end()
    assert code == 0, said[-3000:]
    assert result(folder) == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_full_disk(healthy, studies):
    folder, expected = studies()
    disk = folder / "results/netF"
    shutil.copytree(disk, folder / "netF")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", disk], check=True)
    try:
        shutil.copytree(folder / "netF", disk, dirs_exist_ok=True)
        free = shutil.disk_usage(disk).free
        (disk / "filler").write_bytes(b"\0" * (free - 1_000_000))  # the history fits in
        run = Run(healthy, folder, "--retries", "0")
        run.train()
        code, said = run.end()
        assert code == 1 and "No space left on device" in said
        assert not (folder / TARGET).exists()
        (disk / "filler").unlink()
        code, said = Run(healthy, folder).end()
        assert code == 0, said[-3000:]
        assert result(folder) == expected
    finally:
        subprocess.run(["umount", disk], check=True)


def test_outputs_that_appear_late(healthy, studies):
    """For 20 seconds, an output can't be seen, as on a file system that caches folders."""
    folder, _ = studies()
    target = folder / "results/netF/initial.safetensors"
    expected = target.read_bytes()
    target.unlink()
    hidden = target.with_name("hidden")

    def hide():
        while not target.exists():
            time.sleep(0.001)
        target.rename(hidden)
        time.sleep(20)
        hidden.rename(target)

    thread = threading.Thread(target=hide, daemon=True)
    thread.start()
    code, said = Run(healthy, folder, target="results/netF/initial.safetensors").end()
    assert code == 0, said[-3000:]
    assert not thread.is_alive() and target.read_bytes() == expected
