"""Check that results are still what their sidecars say, and the inputs they were made from.

Start it in the folder that holds results/. Every file that a sidecar names is hashed again. A
changed or missing one is named, with all results that were made from it, directly or not; then the
exit code is 1.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cxr.logs import InputError, parser, progress, user_errors
from cxr.provenance import FOLDER, read_sidecars, sha256_of


def verify_results(folder, threads):
    sidecars = read_sidecars(folder)
    gone = {path for sidecar in sidecars for path in sidecar["temporary"]}
    made = {path for sidecar in sidecars for path in sidecar["outputs"]}
    expected, used_by = {}, {}
    for sidecar in sidecars:
        for path, digest in sidecar["inputs"].items():
            used_by.setdefault(path, []).append(sidecar)
            if path not in made:  # else its own sidecar is what counts
                expected.setdefault(path, set()).add(digest)
        expected |= {path: {digest} for path, digest in sidecar["outputs"].items()}
    paths = sorted(expected.keys() - gone)
    with ThreadPoolExecutor(threads) as pool:
        found = dict(
            zip(paths, progress(pool.map(digest_of, paths), "files", len(paths)), strict=True)
        )
    problems = {
        path: "is missing" if found[path] is None else "is not what its sidecar says"
        for path in paths
        if {found[path]} != expected[path]
    }
    for sidecar in sidecars:  # an input that was made anew since
        for path, digest in sidecar["inputs"].items():
            if path in found and found[path] not in (None, digest) and path not in problems:
                problems[path] = "is newer than what was made from it"
    for path, problem in problems.items():
        print(f"{path} {problem}")
        for result in dependents(path, used_by):
            print(f"    {result} depends on it")
    if problems:
        raise InputError(f"{len(problems)} of {len(paths)} files are not what they were")
    print(f"{len(paths)} files of {len(sidecars)} jobs are what their sidecars say")


def digest_of(path):
    return sha256_of(path) if Path(path).exists() else None


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
    chosen = arguments.parse_args()
    with user_errors():
        verify_results(chosen.sidecars, chosen.threads)
