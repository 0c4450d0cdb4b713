"""Write one zip of a run for reviewers and repositories such as Zenodo.

Start it in the folder that holds results/. In it: tables, figures, audits, predictions, the nets
(safetensors, ONNX, model cards), sidecars, RO-Crate, configuration, signature, the report, the
workflow's code, and a README. Left out: images, weights of single phases, Keras nets, and each
picture or page that shows X-rays. The same results give the same bytes.
verify_results.py --archive checks it.
"""

import re
import zipfile
from collections import defaultdict
from pathlib import Path

from cxr.archives import LIST, verify_archive, write_archive
from cxr.cli import InputError, parser, user_errors
from cxr.files import atomic_write
from cxr.provenance import CODE, FOLDER, read_sidecars, said_by
from cxr.signatures import RESULTS, SIGNATURE

HERE = Path(__file__).resolve().parent.parent
TEXTS = (".csv", ".svg", ".html", ".md", ".json", ".sha256")
NETS = ("model.safetensors", "model.onnx")
OUTSIDE = ("downloads", "logs", "benchmarks")  # sources, and what machines say
WORKFLOW = (
    *CODE,
    "Makefile",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "report",
    "profiles",
    "slurm",
)
# In a page or SVG: a picture inside, or one beside it that it shows.
PICTURE = re.compile(rb"<image\b|data:image/(?:png|jpe?g)|\.(?:png|jpe?g)\b")

README = """# COVID-19 detection on chest X-rays: a reproduction of Bassi & Attux 2020

Results of a run, without data and without pictures that show X-rays; tables have names of images
and patients as the public data sets have them. Research only. Not a medical device.

{signed}

| folder | files | bytes |
| --- | --- | --- |
{sizes}

## Is every file what the run made?

    cd workflow; make env; .venv/bin/snakemake environments; cd ..
    make -C workflow verify ARCHIVE=PATH/OF/THIS.zip [SIGNERS=FILE]

says who signed, and names each file that is not what the run recorded. SIGNERS is a file as
`man ssh-keygen` describes under ALLOWED SIGNERS. Without installing anything, in this folder:

    sha256sum --check --quiet {list}

## Do the recorded commands make these numbers from the images?

    workflow/.venvs/torch-*/bin/python workflow/workflow_scripts/rerun_result.py \\
      results/tables/table3.csv

in this folder says how long it will take, reproduces the table from the sources, and compares every
file on the way; exit code 0 means that none differs. `--from predictions` starts at the
predictions in here, which takes seconds; other levels need files that are left out. As a plain
script: `workflow/workflow_scripts/trace_result.py results/tables/table3.csv --script`. Jobs fetch
the sources that have an address; they read these, which you need in this folder:

{sources}

The run's code: {code}.
`workflow/` is the code that wrote this archive; rerun_result.py says where a job ran with other.

## Left out

{left_out} files that the run recorded: images and arrays, weights of single phases, Keras nets, and
what shows X-rays. Their sha256 are in {sidecars}/.
"""


def archive_results(out):
    sidecars, problems = read_sidecars()
    if problems:
        raise InputError(problems[0])
    files = {str(path): path for path in chosen_files()}
    files |= {f"workflow/{path.relative_to(HERE).as_posix()}": path for path in workflow_files()}
    pages = report_pages(RESULTS / "report.zip")
    texts = pages | {"README.md": readme(sidecars, files, pages).encode()}
    with atomic_write(out) as temporary:
        write_archive(temporary, files, texts)
        verify_archive(temporary, name=out)
    print(f"{out}: {out.stat().st_size / 1e6:.1f} MB")


def chosen_files():
    """Files of results/ that belong into the archive, in order."""
    for path in sorted(RESULTS.rglob("*")):
        top = path.relative_to(RESULTS).parts[0]
        hidden = any(part.startswith(".") for part in path.parts)
        kept = path.suffix in TEXTS or path.name in NETS or path.is_relative_to(FOLDER.parent)
        if kept and path.is_file() and not hidden and top not in OUTSIDE:
            if not shows_picture(path.name, path.read_bytes()):
                yield path


def shows_picture(name, content):
    suffix = Path(name).suffix
    if suffix in (".svg", ".html"):
        return bool(PICTURE.search(content))
    return suffix in (".png", ".jpg", ".jpeg")


def workflow_files():
    """The workflow's files, in order: those that git tracks, else all that are no caches."""
    try:
        listed = said_by("git", "-C", str(HERE), "ls-files", "-z", "--", *WORKFLOW).split("\0")[:-1]
        paths = [HERE / name for name in listed]
    except (InputError, OSError):  # no repository, or no git
        paths = []
    for top in () if paths else map(HERE.joinpath, WORKFLOW):
        paths += top.rglob("*") if top.is_dir() else [top]
    return sorted(path for path in paths if path.is_file() and "__pycache__" not in path.parts)


def report_pages(report):
    """{name: content} of the Snakemake report, without pictures that show X-rays."""
    if not report.exists():
        print(f"warning: no {report} (make report): the archive has none")
        return {}
    try:
        with zipfile.ZipFile(report) as file:
            names = [name for name in file.namelist() if not name.endswith("/")]
            pages = {name: file.read(name) for name in names}
    except zipfile.BadZipFile as error:
        raise InputError(f"{report}: damaged ({error}); make it again: make report") from error
    return {
        name: page
        for name, page in pages.items()
        if name == "report/report.html" or not shows_picture(name, page)
    }


def readme(sidecars, files, pages):
    """The archive's README, with sizes and what one needs beside it."""
    made = {path for sidecar in sidecars for path in sidecar["outputs"]}
    read = {path for sidecar in sidecars for path in sidecar["inputs"]} - made
    sources = [f"- `{path}`" for path in sorted(read) if not is_code(path)]
    sizes = defaultdict(list)
    for name, size in [
        *((name, path.stat().st_size) for name, path in files.items()),
        *((name, len(page)) for name, page in pages.items()),
    ]:
        depth = 2 if name.startswith("results/") else 1
        sizes["/".join(Path(name).parts[:depth])].append(size)
    commits = {str(sidecar["code"].get("commit") or "of no commit") for sidecar in sidecars}
    return README.format(
        signed=f"Signed: {SIGNATURE}." if SIGNATURE.exists() else "Not signed.",
        sizes="\n".join(
            f"| {name} | {len(found)} | {sum(found):,} |" for name, found in sorted(sizes.items())
        ),
        list=LIST,
        sources="\n".join(sources) or "none",
        code=", ".join(sorted(commits)),
        left_out=len(made - files.keys()),
        sidecars=FOLDER,
    )


def is_code(path):
    """Whether what jobs read is of the workflow's own folder."""
    return any(part in (*CODE, "report") for part in Path(path).parts[:-1])


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--out", type=Path, default=Path("results.zip"), help="zip to write")
    chosen = arguments.parse_args()
    with user_errors():
        archive_results(chosen.out)
