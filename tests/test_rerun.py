"""Results are reproduced from their sidecars and compared; what differs is named."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cxr.chains import LEVELS, chain_of, environment_of
from cxr.checksums import sha256_of
from cxr.cli import InputError
from cxr.code import code_digest
from cxr.comparison import difference, kind_of
from cxr.provenance import read_sidecars, sidecar_of
from PIL import Image
from record import record
from rerun_result import configured_tolerances, rerun_result
from safetensors.numpy import save_file
from trace_result import print_script

ROOT = Path(__file__).parent.parent
SCRIPTS = {  # a workflow of three levels, each a step's script
    "prepare_covid19": "import sys; s, t = sys.argv[1:]; open(t, 'w').write(open(s).read() * 2)",
    "predict": "import sys; s, t = sys.argv[1:]; open(t, 'w').write('x,' + open(s).read())",
    "evaluate": (
        "import os, sys, time; s, t, page = sys.argv[1:]\n"
        "time.sleep(float(os.environ.get('SLEEP', 0)))\n"
        "open(t, 'w').write(open(s).read() + open(page).read() + os.environ.get('OTHER', ''))"
    ),
}
CHAIN = {
    "results/data/a.csv": ("prepare_covid19", ["local/source.csv"]),
    "results/netA/predictions.csv": ("predict", ["results/data/a.csv"]),
    "results/tables/table3.csv": (
        "evaluate",
        ["results/netA/predictions.csv", "../flow/report/page.html"],
    ),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A workflow with git in flow/, and a run of it in run/."""
    folder = tmp_path_factory.mktemp("made")
    for name, text in SCRIPTS.items():
        write(folder / f"flow/workflow_scripts/{name}.py", text)
    write(folder / "flow/report/page.html", "page\n")
    commit(folder / "flow")
    write(folder / "run/local/source.csv", "1.0\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "run")
        for result, (name, inputs) in CHAIN.items():
            run_step(result, name, inputs)
    return folder


@pytest.fixture
def flow(made, tmp_path, monkeypatch):
    """The workflow's folder, copied with the run, where tests start."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path / "run")
    monkeypatch.setenv("TORCH_PYTHON", sys.executable)
    return tmp_path / "flow"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commit(folder):
    git = ["git", "-C", str(folder), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True)
    said = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    return said.stdout.strip()


def run_step(result, name, inputs):
    Path(result).parent.mkdir(parents=True, exist_ok=True)
    script = f"../flow/workflow_scripts/{name}.py"
    command = [sys.executable, script, inputs[0], result, *inputs[1:]]
    assert record([*inputs, script], [result], [], command, code_digest(Path(script))) == 0
    sidecar = json.loads(sidecar_of(result).read_text())
    said = ["git", "-C", "../flow", "rev-parse", "HEAD"]
    sidecar["code"]["commit"] = subprocess.check_output(said, text=True).strip()
    sidecar_of(result).write_text(json.dumps(sidecar))


@pytest.fixture(autouse=True)
def forget_digests():
    code_digest.cache_clear()


def rerun(flow, *results, level=None, **options):
    tolerances = dict.fromkeys(("weights", "predictions", "tables", "pictures"), 0.02)
    results = list(results) or ["results/tables/table3.csv"]
    return rerun_result(results, level, Path("again"), tolerances, flow, **options)


def test_the_whole_chain_is_made_again(flow, capsys):
    assert rerun(flow)
    out = capsys.readouterr().out
    assert "3 of 3 jobs to run" in out and "by the recorded seconds" in out
    assert "3 of 3 files have the same bytes (100.0%)" in out
    assert not any(path.is_symlink() for path in Path("again/sources/run/results").rglob("*"))
    assert len(Path("again/sources/verdicts.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(("level", "jobs"), [("data", 2), ("weights", 2), ("predictions", 1)])
def test_levels_are_taken_as_they_are(flow, capsys, level, jobs):
    assert rerun(flow, level=level)
    assert f"{jobs} of {jobs} jobs to run" in capsys.readouterr().out


def test_levels_name_steps_of_the_workflow():
    for step in (step for steps in LEVELS.values() for step in steps):
        assert (ROOT / f"workflow_scripts/{step}.py").exists(), step


def test_a_level_that_holds_the_result(flow):
    with pytest.raises(InputError, match="data already has it; choose an earlier level"):
        rerun(flow, "results/data/a.csv", level="data")


def test_dry_run_makes_nothing(flow, capsys):
    assert rerun(flow, dry_run=True)
    assert "3 of 3 jobs" in capsys.readouterr().out
    assert not Path("again/sources/run").exists()


def test_a_result_that_comes_out_otherwise_is_named(flow, capsys, monkeypatch):
    monkeypatch.setenv("OTHER", "more\n")
    assert not rerun(flow)
    out = capsys.readouterr().out
    assert (
        "differs           results/tables/table3.csv  inf of 0.02 allowed  (4 lines, were 3)" in out
    )
    assert "2 of 3 files have the same bytes (66.7%); 1 differs" in out


def test_forged_result_with_its_sidecar_comes_out_otherwise(flow, capsys):
    path = "results/tables/table3.csv"
    Path(path).write_text(Path(path).read_text().replace("1.0", "9.0"))
    sidecar = json.loads(sidecar_of(path).read_text())
    sidecar["outputs"][path] = sha256_of(path)
    sidecar_of(path).write_text(json.dumps(sidecar))
    assert not rerun(flow)
    assert "(line 1: 'x,1.0', was 'x,9.0')" in capsys.readouterr().out


def test_small_differences_are_within_tolerance(flow, capsys):
    path = "results/tables/table3.csv"
    Path(path).write_text(Path(path).read_text().replace("1.0", "1.01"))
    sidecar = json.loads(sidecar_of(path).read_text())
    sidecar["outputs"][path] = sha256_of(path)
    sidecar_of(path).write_text(json.dumps(sidecar))
    assert rerun(flow)
    assert "within tolerance  results/tables/table3.csv  0.0099 of" in capsys.readouterr().out


def test_recorded_files_that_are_gone(flow, capsys, monkeypatch):
    """As in an unpacked archive: an intermediate can't be compared, the result has to be."""
    monkeypatch.setenv("OTHER", "more\n")
    Path("results/data/a.csv").unlink()
    Path("results/tables/table3.csv").unlink()
    assert not rerun(flow)
    assert "not compared      results/tables/table3.csv" in capsys.readouterr().out
    monkeypatch.delenv("OTHER")
    shutil.rmtree("again")
    assert rerun(flow), "sums are enough where bytes are the same"


def test_files_in_folders_are_compared_one_by_one(flow, capsys, monkeypatch):
    script = flow / "workflow_scripts/augment.py"
    script.write_text(
        "import os, sys; os.mkdir(sys.argv[1]); open(f'{sys.argv[1]}/same', 'w').write('1')\n"
        "open(f'{sys.argv[1]}/other', 'w').write(os.environ.get('OTHER', '1'))"
    )
    command = [sys.executable, "../flow/workflow_scripts/augment.py", "results/folder"]
    assert record([command[1]], ["results/folder"], [], command) == 0
    monkeypatch.setenv("OTHER", "2")
    assert not rerun(flow, "results/folder")
    out = capsys.readouterr().out
    assert "differs           results/folder/other  1 of 0.02 allowed" in out
    assert "1 of 2 files have the same bytes" in out
    shutil.rmtree("results/folder")
    assert not rerun(flow, "results/folder")
    assert "not compared      results/folder  (other bytes" in capsys.readouterr().out


def test_missing_and_changed_sources(flow):
    Path("local/source.csv").write_text("2.0\n")
    with pytest.raises(
        InputError, match=r"source\.csv: not the source that the recorded jobs read"
    ):
        rerun(flow)
    Path("local/source.csv").unlink()
    with pytest.raises(InputError, match=r"source\.csv: a source that the recorded jobs read is"):
        rerun(flow)


def test_a_changed_level_is_not_taken(flow):
    Path("results/netA/predictions.csv").write_text("x,3.0\n")
    with pytest.raises(InputError, match=r"predictions\.csv: not the source"):
        rerun(flow, level="predictions")


def test_code_of_the_recorded_commit(flow, capsys):
    write(flow / "workflow_scripts/predict.py", SCRIPTS["predict"] + "\nopen(t, 'a').write('new')")
    commit(flow)
    assert rerun(flow)
    assert len(list(Path("again/sources/code").iterdir())) == 1
    assert "3 of 3 files have the same bytes" in capsys.readouterr().out


def test_code_that_git_does_not_have(flow, capsys):
    write(flow / "workflow_scripts/predict.py", SCRIPTS["predict"] + "\nopen(t, 'a').write('2\\n')")
    shutil.rmtree(flow / ".git")
    assert not rerun(flow)
    captured = capsys.readouterr()
    assert "the code of 1 jobs is neither this workflow's nor in its git" in captured.err
    assert "differs           results/netA/predictions.csv" in captured.out


def test_a_changed_page_is_named(flow, capsys):
    write(flow / "report/page.html", "other page\n")
    assert not rerun(flow)
    assert "page.html is not what the recorded jobs read" in capsys.readouterr().err


def test_another_machine_is_named(flow, capsys):
    for path in sidecar_of("results/x").parent.rglob("*.json"):
        sidecar = json.loads(path.read_text())
        sidecar["machine"]["cpu"] = "VAX-11/780"
        path.write_text(json.dumps(sidecar))
    assert rerun(flow)
    out = capsys.readouterr().out
    assert "recorded on: VAX-11/780, no GPU" in out and "this machine differs, " in out


def test_resumes_where_it_was(flow, capsys):
    assert rerun(flow, "results/netA/predictions.csv")
    assert rerun(flow)
    assert "1 of 3 jobs to run" in capsys.readouterr().out
    assert rerun(flow)
    assert "0 of 3 jobs to run" in capsys.readouterr().out
    Path("again/sources/run/results/netA/predictions.csv").write_text("damaged")
    assert rerun(flow)
    assert "2 of 3 jobs to run" in capsys.readouterr().out, "it, and what was made from it"


def test_a_stopped_rerun_says_how_to_resume(flow, tmp_path):
    script = ROOT / "workflow_scripts/rerun_result.py"
    command = [sys.executable, script, "--workflow", flow, "--folder", "again"]
    process = subprocess.Popen(
        command, env=os.environ | {"SLEEP": "60"}, stderr=subprocess.PIPE, text=True
    )
    log = Path("again/sources/logs/results/tables/table3.csv.log")
    while not log.exists() and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert said == "stopped; the same command resumes\n"
    done = subprocess.run(command, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert "1 of 3 jobs to run" in done.stdout


def test_failing_job_is_one_line_with_its_log(flow, monkeypatch):
    monkeypatch.setenv("SLEEP", "no number")
    with pytest.raises(InputError, match=r"table3\.csv: its job fails: ValueError: could not conv"):
        rerun(flow)


def test_a_job_may_not_write_elsewhere(flow):
    """Its outputs are removed before it runs again."""
    place = sidecar_of("results/tables/table3.csv")
    for path in (str(Path("results/x.csv").absolute()), "../x.csv", "results/../../x.csv"):
        sidecar = json.loads(place.read_text())
        place.write_text(json.dumps(sidecar | {"outputs": {path: None}}))
        with pytest.raises(InputError, match="outside of its folder"):
            rerun(flow, path)


def test_only_steps_of_the_workflow_run(flow):
    place = sidecar_of("results/tables/table3.csv")
    sidecar = json.loads(place.read_text())
    for words, said in (
        (
            [sys.executable, "-c", "open('forged', 'w')", "../flow/workflow_scripts/evaluate.py"],
            "more",
        ),
        ([sys.executable, "/elsewhere/evaluate.py"], "no step of"),
        ([sys.executable, "../evil/workflow_scripts/evil.py"], "no step of"),
    ):
        place.write_text(json.dumps(sidecar | {"command": words}))
        with pytest.raises(InputError, match=said):
            rerun(flow)


ODD = (None, 1, -1.5, "", "x", "a.py", "../a.py", [], ["a"], {}, {"a": "b"}, {"a": None})


def odd_sidecars(sidecar):
    """Sidecars in which a value, or one in an inner object, is odd."""
    for key, value in sidecar.items():
        for odd in ODD:
            yield sidecar | {key: odd}
            if isinstance(value, dict):
                yield from (sidecar | {key: value | {inner: odd}} for inner in list(value)[:4])


def test_odd_sidecars_end_in_no_traceback(flow):
    place = sidecar_of("results/netA/predictions.csv")
    sidecar = json.loads(place.read_text())
    found = list(odd_sidecars(sidecar))
    assert len(found) > 200
    for odd in found:
        place.write_text(json.dumps(odd))
        for check in (
            lambda: rerun(flow, dry_run=True),
            lambda: print_script(["results/tables/table3.csv"]),
        ):
            try:
                check()
            except InputError:
                pass


def test_jobs_that_make_each_other(flow):
    path = sidecar_of("results/data/a.csv")
    sidecar = json.loads(path.read_text())
    sidecar["inputs"]["results/netA/predictions.csv"] = None
    path.write_text(json.dumps(sidecar))
    with pytest.raises(InputError, match="jobs that make each other's inputs"):
        rerun(flow)


def test_unknown_result(flow):
    with pytest.raises(InputError, match=r"results/z\.csv: made by no job"):
        rerun(flow, "results/z.csv")


def test_environments_without_their_own_path():
    """As with conda."""
    assert environment_of({"command": ["../.venvs/keras-0123456789ab/bin/python"]}) == "keras"
    assert environment_of({"command": ["python"], "packages": {"tensorflow": "2"}}) == "keras"
    assert environment_of({"command": ["python"], "packages": None}) == "torch"


def test_every_kind_has_a_tolerance():
    assert configured_tolerances().keys() == {"weights", "predictions", "tables", "pictures"}


# The script


def test_script_makes_the_result_without_the_workflow_s_tools(flow, capsys, tmp_path):
    print_script(["results/tables/table3.csv"])
    script = capsys.readouterr().out
    steps = re.findall(r"^threads 1; .* \S+/(\w+)\.py", script, re.MULTILINE)
    assert steps == ["prepare_covid19", "predict", "evaluate"]
    shutil.copytree("local", tmp_path / "elsewhere/local")
    bash = {"cwd": tmp_path / "elsewhere", "text": True, "capture_output": True}
    done = subprocess.run(["bash", "-s"], input=script, **bash)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "results/tables/table3.csv: OK\n"
    assert (
        "table3.csv is here already" in subprocess.run(["bash", "-s"], input=script, **bash).stderr
    )
    shutil.rmtree(tmp_path / "elsewhere/results")
    (tmp_path / "elsewhere/local/source.csv").write_text("2\n")
    done = subprocess.run(["bash", "-s"], input=script, **bash)
    assert done.returncode == 1 and "local/source.csv: FAILED" in done.stdout


def test_script_runs_nothing_that_a_name_holds(flow, tmp_path, capsys):
    path = sidecar_of("results/tables/table3.csv")
    original = path.read_text()
    for old, new in (
        ('"inputs": {', '"inputs": {"a\\nEND\\ntouch forged\\n": null, '),
        ('"threads": null', '"threads": "1; touch forged"'),
        ('"commit": "', '"commit": "\\ntouch forged\\n'),
        ('"--page"', '"; touch forged; $(touch forged)"'),
    ):
        path.write_text(original.replace(old, new, 1))
        try:
            print_script(["results/tables/table3.csv"])
        except InputError as error:
            assert "that no script can hold" in str(error)
        script = capsys.readouterr().out
        shutil.rmtree(tmp_path / "elsewhere", ignore_errors=True)
        shutil.copytree("local", tmp_path / "elsewhere/local")
        subprocess.run(
            ["bash", "-s"], input=script, text=True, cwd=tmp_path / "elsewhere", capture_output=True
        )
        assert not (tmp_path / "elsewhere/forged").exists(), new


# Comparison


PAGE = '<td class="no">0.3 <b>no</b></td>\n<td class="seconds" data-label="Seconds">{}</td>\n'
HISTORY = "epoch,train_loss,seconds,images_per_second\n1,0.69,2.5,10\n"
BLACK, CLEAR = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)


def arrays(change=0.0, **options):
    return {"a": np.array([[1, 2], [3, 4 + change]], np.float32), **options}


@pytest.mark.parametrize(
    ("name", "before", "after", "size", "first"),
    [
        ("a.csv", "a,b\nx,0.5\n", "a,b\nx,0.51\n", 0.01, "line 2: 'x,0.51', was 'x,0.5'"),
        ("a.csv", "n\n200\n", "n\n201\n", 0.005, "line 2: '201', was '200'"),
        ("a.csv", "a\nx\n", "a\ny\n", np.inf, "line 2: 'y', was 'x'"),
        ("a.csv", "a\n1\n", "a\n1\n2\n", np.inf, "3 lines, were 2"),
        ("a.csv", "a\n1\n", "a\nnan\n", np.inf, "line 2"),
        ("a.csv", "a\n-1e-5\n", "a\n1e-5\n", 2e-5, "line 2"),
        ("a.json", "0" * 64, "1" * 64, 0, "sums of other files"),
        ("history.csv", HISTORY, HISTORY.replace("2.5,10", "7,3"), 0, "nothing but how"),
        ("history.csv", HISTORY, HISTORY.replace("0.69", "0.7"), 0.01, "line 2: '1,0.7'"),
        ("a.html", PAGE.format(0.2), PAGE.format(7), 0, "nothing but how"),
        ("a.html", PAGE.format(0.2), PAGE.format(7).replace("0.3", "0.4"), 0.1, "line 1"),
        ("a.svg", "M 100 5", "M 101 5", 0.01, "line 1"),
        ("a.svg", 'id="p0123456789"', 'id="p012345678a"', 0, "sums of other files"),
        ("a.svg", "base64,AAAA", "base64,AAAB", np.inf, "not readable"),
        ("a.svg", "x", "base64,AAAB", np.inf, "pictures"),
        ("a.h5", b"\xff\0abc", b"\xff\0abd", np.inf, "byte 4"),
        ("a.h5", b"\xff\0abc", b"\xff\0ab", np.inf, "byte 4"),
        ("a.safetensors", arrays(), arrays(0.04), 0.01, "a[1, 1]: 4.04, was 4"),
        ("a.safetensors", arrays(), arrays(np.nan), np.inf, "a[1, 1]: nan"),
        ("a.safetensors", arrays(), arrays(b=np.ones(1)), np.inf, "arrays ['b'] are in one only"),
        ("a.safetensors", arrays(), b"cut", np.inf, "not readable: "),
        ("a.npz", arrays(), arrays(0.04), 0.01, "a[1, 1]"),
        ("a.png", BLACK, BLACK + np.uint8(51), 0.15, "[0, 0, 0]: 51, was 0"),  # opaque as before
        ("a.png", np.dstack([BLACK, CLEAR]), np.dstack([BLACK, CLEAR + 51]), 0.05, "[0, 0, 3]: 51"),
        ("a.npy", BLACK, BLACK + np.uint8(51), 0.2, "[0, 0, 0]: 51, was 0"),
        ("a.npy", BLACK, BLACK[1:], np.inf, ": uint8 (3, 4, 3), was uint8 (4, 4, 3)"),
    ],
)  # fmt: skip
def test_size_and_place_of_a_difference(tmp_path, name, before, after, size, first):
    for folder, content in (("old", before), ("new", after)):
        (tmp_path / folder).mkdir()
        save(tmp_path / folder / name, content)
    found = difference(tmp_path / "old" / name, tmp_path / "new" / name, kind_of(name))
    assert found[0] == pytest.approx(size, rel=0.02)
    assert first in found[1]


def save(path, content):
    if isinstance(content, str | bytes):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif path.suffix == ".safetensors":
        save_file(content, path)
    elif path.suffix == ".npz":
        np.savez(path, **content)
    elif path.suffix == ".png":
        Image.fromarray(content).save(path)
    else:
        np.save(path, content)


def test_kinds():
    kinds = {
        "results/netA/predictions.csv": "predictions", "results/netA/logits.csv": "predictions",
        "results/netC/heatmaps/test_set.npz": "predictions", "results/tables/table3.csv": "tables",
        "results/netA/model.onnx": "weights", "results/data/covid19/train.npy": "pictures",
        "results/figures/figure1.svg": "pictures", "results/netA/model_card.md": "tables",
    }  # fmt: skip
    assert {path: kind_of(path) for path in kinds} == kinds


def test_chain_is_in_order(flow):
    jobs = chain_of(["results/tables/table3.csv"], read_sidecars()[0])
    assert [next(iter(job["outputs"])) for job in jobs] == list(CHAIN)
