"""A folder in which recorded commands run again unchanged: they find what they name in it."""

import os
import re
import shutil
import subprocess
import tarfile
from functools import cache
from io import BytesIO
from pathlib import Path

from cxr.chains import THREADS, environment_of, home_of, makers, name_of, sources_of, threads_of
from cxr.checksums import file_sum, sha256_of
from cxr.cli import InputError
from cxr.code import code_digest
from cxr.provenance import read_sidecar, sidecar_of, step_of

RECORD = Path(__file__).resolve().parent.parent / "record.py"
# Of the workflow's folder, what a job must not find in the folder that it runs in.
NOT_CODE = ("results", "phantoms", "demo", "local", ".git", ".snakemake", ".venv")


class Sandbox:
    """folder/run is where jobs run: as many folders further down as recorded paths go up.

    workflow: folder of the code, and of the repository that may have that of other commits.
    """

    def __init__(self, folder, jobs, workflow):
        self.folder, self.workflow = Path(folder).resolve(), Path(workflow).resolve()
        self.jobs, self.made_by = jobs, makers(jobs)
        for path in self.made_by:
            if Path(path).is_absolute() or os.path.normpath(path).startswith(".."):
                raise InputError(f"{path}: a job wrote it outside of its folder; can't be rerun")
        for job in jobs:
            if not set(job["command"][1 : job["command"].index(step_of(job))]) <= {"-E", "-s"}:
                raise InputError(f"{name_of(job)}: its command runs more than a step's script")
        paths = [*sources_of(jobs), *(home_of(job) for job in jobs)]
        depth = max(Path(os.path.normpath(path)).parts.count("..") for path in paths)
        self.root = self.folder.joinpath(*["run"] * max(depth, 1))
        self.commit_code = cache(self._commit_code)
        self.code = {name_of(job): self._code_of(job) for job in jobs}
        self.done = {}  # {name of a job: its sidecar here}
        for job in jobs:
            if sidecar := self._sidecar_if_done(job):
                self.done[name_of(job)] = sidecar

    def differs_in_code(self, job):
        return not _has_code_of(job, self.code[name_of(job)])

    def _code_of(self, job):
        """Folder of the code that made a job's outputs; the workflow's where that isn't to be had.

        Raises InputError where the job's step is none of the workflow.
        """
        if _has_code_of(job, self.workflow):
            return self.workflow
        recorded = self.commit_code(job["code"].get("commit"))
        if recorded and _has_code_of(job, recorded):
            return recorded
        if not (self.workflow / _script(job)).exists():
            raise InputError(f"{name_of(job)}: made by {step_of(job)}, no step of {self.workflow}")
        return self.workflow

    def _commit_code(self, commit):
        """A commit of the workflow, unpacked; None where git doesn't have it."""
        if not re.fullmatch("[0-9a-f]{40,64}", str(commit)):
            return None
        place = self.folder / "code" / commit[:12]
        if not place.exists():
            words = ["git", "-C", self.workflow, "archive", "--format=tar", commit]
            try:
                done = subprocess.run(words, capture_output=True)
            except OSError:  # no git
                return None
            if done.returncode:
                return None
            half = place.with_suffix(".part")
            shutil.rmtree(half, ignore_errors=True)
            tarfile.open(fileobj=BytesIO(done.stdout)).extractall(half, filter="data")
            (half / ".venvs").symlink_to(self.workflow / ".venvs")
            half.rename(place)
        return place

    def _sidecar_if_done(self, job):
        """The sidecar of a job that has run here, with this code and these inputs, or None."""
        path = self.root / sidecar_of(name_of(job))
        if not path.exists():
            return None
        sidecar = read_sidecar(path)
        expected = {path: self._sum_of_input(job, path) for path in job["inputs"]}
        outputs = sidecar["outputs"].items()
        same = (
            sidecar["command"][1:] == job["command"][1:]
            and sidecar["code"].get("sha256") == self._digest(job)
            and all(sidecar["inputs"].get(name) == digest for name, digest in expected.items())
            and all((self.root / name).exists() for name, _ in outputs)
            and all(sha256_of(self.root / name) == digest for name, digest in outputs)
        )
        return sidecar if same else None

    def _sum_of_input(self, job, path):
        """What an input's sum is here; None where the job that makes it has not run."""
        if path == step_of(job):
            return file_sum(self.code[name_of(job)] / _script(job), "sha256")
        maker = self.made_by.get(path)
        made = self.done.get(name_of(maker)) if maker else None
        return made["outputs"][path] if made else None if maker else job["inputs"][path]

    def _digest(self, job):
        return code_digest(self.code[name_of(job)] / _script(job))

    def link_sources(self):
        """Put what no job makes where jobs look for it. Raises InputError unless it is as it was.

        Code that is no script, as pages are, may differ: paths of such files are returned.
        """
        changed, seen = set(), set()
        for job in self.jobs:
            self._link_code(job)
            for path, digest in sources_of([job]).items():
                key = (path, digest, self.code[name_of(job)])
                if path in self.made_by or path == step_of(job) or key in seen:
                    continue
                seen.add(key)
                if self._differs(path, digest):
                    changed.add(path)
        return sorted(changed)

    def _differs(self, path, digest):
        """Link a source; whether it is code with another sum. Other sources must not differ."""
        target = Path(os.path.normpath(self.root / path))
        if not os.path.lexists(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(Path(path).absolute())
        if not target.exists():
            raise InputError(f"{path}: a source that the recorded jobs read is missing")
        if digest is None or sha256_of(target) == digest:
            return False
        if not self._is_code(target):
            raise InputError(
                f"{path}: not the source that the recorded jobs read; expected sha256 {digest}"
            )
        return True

    def _is_code(self, target):
        """Whether a file is a page or script of the workflow, and no list of the user's beside."""
        return any(
            target.resolve().is_relative_to(code / folder)
            for code in {self.workflow, *self.code.values()}
            for folder in ("report", "workflow_scripts")
        )

    def _link_code(self, job):
        """Make the workflow's folder, as a job's command names it, that of the job's code."""
        code, home = self.code[name_of(job)], home_of(job)
        if home.is_absolute():
            raise InputError(f"{name_of(job)}: made by {step_of(job)}, an absolute path")
        target = Path(os.path.normpath(self.root / home))
        if not self.root.is_relative_to(target):
            _link(target, code)
            return
        for entry in code.iterdir():  # it has the folder of jobs inside
            if entry.name not in NOT_CODE and not self.folder.is_relative_to(entry):
                _link(target / entry.name, entry)

    def run(self, job):
        """Run a job under record.py. Raises InputError if it fails, KeyboardInterrupt if stopped.

        The step is told to stop by one SIGTERM, as Snakemake does, in a session of its own that
        no terminal sends another to.
        """
        self._link_code(job)
        self._make_room(job)
        log = self.folder / "logs" / f"{name_of(job)}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        variables = dict.fromkeys(THREADS, threads_of(job))
        with open(log, "w") as file:
            process = subprocess.Popen(
                self._words(job),
                cwd=self.root,
                env=os.environ | variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                failed = process.wait()
            except KeyboardInterrupt:
                process.terminate()
                process.wait()
                raise
        if failed:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise InputError(f"{name_of(job)}: its job fails: {''.join(last)[:300]} ({log})")
        self.done[name_of(job)] = read_sidecar(self.root / sidecar_of(name_of(job)))

    def _make_room(self, job):
        """Remove what an earlier attempt left of a job's outputs, as Snakemake does."""
        for path in (*job["outputs"], sidecar_of(name_of(job))):
            target = self.root / path
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
            target.parent.mkdir(parents=True, exist_ok=True)

    def _words(self, job):
        python = [self.python_of(job), "-E", "-s"]
        resume = Path(name_of(job)).with_name(".resume")
        temporary = ["--temporary", *job["temporary"]] if job["temporary"] else []
        return [
            *(*python, RECORD, "--inputs", *job["inputs"], "--outputs", *job["outputs"]),
            *(*temporary, "--code", self._digest(job), "--then-remove", resume),
            *("--", python[0], *job["command"][1:]),
        ]

    def python_of(self, job):
        """Interpreter of a job's environment: of its code's pins, or what TORCH_PYTHON names."""
        name, code = environment_of(job), self.code[name_of(job)]
        variable = f"{name.partition('_')[0].upper()}_PYTHON"  # torch_cuda12 is a torch, too
        if variable in os.environ:
            return str(Path(os.environ[variable]).absolute())
        pins = code / f"envs/{name}.txt"
        place = code / f".venvs/{name}-{file_sum(pins, 'sha256')[:12]}/bin/python"
        if not place.exists():
            raise InputError(
                f"{place}: no environment of these pins; make it (snakemake environments), or name "
                f"its Python by {variable}"
            )
        return str(place)


def _script(job):
    """Path of a job's script, seen from the workflow's folder."""
    return Path(step_of(job)).relative_to(home_of(job))


def _has_code_of(job, folder):
    """Whether a folder's code is what ran, as far as a sidecar says: its digest, or the script."""
    script = folder / _script(job)
    if not script.exists():
        return False
    if digest := job["code"].get("sha256"):
        return code_digest(script) == digest
    return file_sum(script, "sha256") == job["inputs"].get(step_of(job))


def _link(target, place):
    """Make target a link to a place, whatever it linked to; what is no link stays."""
    if target.is_symlink() and target.readlink() != place:
        target.unlink()
    if not os.path.lexists(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(place)
