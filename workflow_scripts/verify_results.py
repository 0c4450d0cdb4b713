"""Check that results, and the inputs that they were made from, still match their sidecars.

Start it in the folder that holds results/. Every file that a sidecar names is hashed again. A
changed or missing file is named, with all results made from it, directly or indirectly; so are
results without a sidecar, and files among the sidecars that are none. Where the results are signed
(sign_results.py), it says by whom, and names what was changed together with its sidecar since.

--archive checks a zip of archive_results.py in the same way, by itself.

In each case the exit code is 1 if anything is wrong.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxr.archives import verify_archive
from cxr.checksums import sha256_of
from cxr.cli import InputError, parser, progress, user_errors
from cxr.provenance import FOLDER, read_sidecars
from cxr.signatures import (
    RESULTS,
    SIGNATURE,
    SUMS,
    UNSIGNED,
    differences,
    parse_sums,
    signed_files,
    signer,
)

# What no recorded step makes: Snakemake's own, the record itself, and what a source unpacks.
UNRECORDED = "logs benchmarks report.zip provenance ro-crate-metadata.json downloads".split()


def verify_results(folder, threads, signers=None):
    """Print what is wrong with results, and raise InputError if anything is."""
    found = verify_sidecars(folder, threads)
    if SIGNATURE.exists() or SUMS.exists():
        verify_signature(found, signers)
    elif signers:
        raise InputError(f"{SIGNATURE}: missing; the results are not signed")
    else:
        print(UNSIGNED)


def verify_sidecars(folder, threads):
    """{path: sha256} of all files that sidecars name. Raises InputError if anything is wrong."""
    sidecars, unreadable = read_sidecars(folder)
    gone = {path for sidecar in sidecars for path in sidecar["temporary"]}
    expected, used_by = expectations(sidecars)
    paths = sorted(expected.keys() - gone)
    with ThreadPoolExecutor(threads) as pool:
        found = dict(
            zip(paths, progress(pool.map(digest_of, paths), "files", len(paths)), strict=True)
        )
    problems = {path: problem_of(found[path], expected[path]) for path in paths}
    problems = {path: problem for path, problem in problems.items() if problem}
    for sidecar in sidecars:  # an input that was made again since
        for path, digest in sidecar["inputs"].items():
            if digest and path in found and found[path] != digest:
                problems.setdefault(path, "is newer than what was made from it")
    problems |= {path: "has no sidecar" for path in unrecorded(sidecars)}
    for problem in unreadable:
        print(problem)
    for path, problem in problems.items():
        print(f"{path} {problem}")
        for result in dependents(path, used_by):
            print(f"    {result} depends on it")
    if problems or unreadable:
        sidecars_too = f", and {len(unreadable)} files are no sidecars" if unreadable else ""
        raise InputError(
            f"{len(problems)} of {len(paths)} files have changed or are missing{sidecars_too}"
        )
    print(f"{len(paths)} files of {len(sidecars)} jobs match their sidecars")
    return found


def verify_signature(found, signers):
    """Say who signed. Raises InputError if the signature is bad, or files are not as signed."""
    listed = SUMS.read_bytes()
    name = signer(listed, SIGNATURE.read_bytes(), signers)
    expected = parse_sums(listed, SUMS)
    problems = differences(signed_files(found), expected, "signed")
    if problems:
        raise InputError(f"{problems} files are not what {name} signed")
    print(f"{len(expected)} files are what {name} signed")


def expectations(sidecars):
    """({path: sums that it may have}, {path: sidecars of what was made from it})."""
    made = {path for sidecar in sidecars for path in sidecar["outputs"]}
    expected, used_by = {}, {}
    for sidecar in sidecars:
        for path, digest in sidecar["inputs"].items():
            used_by.setdefault(path, []).append(sidecar)
            if path not in made:  # else its own sidecar is what counts
                expected.setdefault(path, set()).add(digest)
        expected |= {path: {digest} for path, digest in sidecar["outputs"].items()}
    return expected, used_by


def digest_of(path):
    """Sum of a path; None: it is missing; an error: it can't be read."""
    try:
        return sha256_of(path)
    except (FileNotFoundError, ValueError):  # the second: a name that no file can have
        return None
    except OSError as error:
        return error


def problem_of(found, expected):
    """What is wrong with a file of this sum, or None."""
    if found is None:
        return "is missing"
    if isinstance(found, OSError):
        return f"can't be read: {found.strerror}"
    if expected == {None}:
        return "can't be verified: its sidecar has no sum of it"
    return None if {found} == expected - {None} else "is not what its sidecar says"


def unrecorded(sidecars):
    """Results, and inputs below results/, that no sidecar has among its outputs, in order."""
    made = {path for sidecar in sidecars for path in sidecar["outputs"]}
    inputs = {path for sidecar in sidecars for path in sidecar["inputs"]}
    there = {str(path) for path in RESULTS.rglob("[!.]*") if path.is_file()}
    below = {path for path in inputs | there if Path(path).is_relative_to(RESULTS)}
    return sorted(
        path
        for path in below - made
        if Path(path).parts[1] not in UNRECORDED and not made & set(map(str, Path(path).parents))
    )


def dependents(path, used_by):
    """All results that were made from a file, directly or not, in order."""
    found, to_follow = set(), {path}
    while to_follow:
        sidecars = (sidecar for name in to_follow for sidecar in used_by.get(name, []))
        to_follow = {output for sidecar in sidecars for output in sidecar["outputs"]} - found
        found |= to_follow
    return sorted(found)


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument("--sidecars", type=Path, default=FOLDER, help=argparse.SUPPRESS)
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--archive", type=Path, help="zip to check instead")
    arguments.add_argument(
        "--signers",
        type=Path,
        help="who may sign: a file as in `man ssh-keygen`, ALLOWED SIGNERS; default: git's "
        "gpg.ssh.allowedSignersFile, else anybody",
    )
    chosen = arguments.parse_args()
    with user_errors():
        if chosen.archive:
            verify_archive(chosen.archive, chosen.signers)
        else:
            verify_results(chosen.sidecars, chosen.threads, chosen.signers)
