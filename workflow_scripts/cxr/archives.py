"""Zips of results to pass on: written the same each time, and checked by themselves."""

import hashlib
import json
import zipfile
import zlib
from pathlib import Path

from cxr.cli import InputError
from cxr.provenance import FOLDER, checked_sidecar
from cxr.signatures import SIGNATURE, SUMS, UNSIGNED, differences, parse_sums, signer, sums_text

LIST = "SHA256SUMS"  # of all other files of the archive
DAMAGE = (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError, NotImplementedError)


def write_archive(path, files, texts):
    """Write a zip of files, {name: path}, and texts, {name: bytes}, with LIST of their sums.

    Members are in the order of their names, not compressed, without age and owner: zlib differs
    between machines, and nets and SVGs are most of it.
    """
    sums = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted({**files, **texts}):
            if name in texts:
                archive.writestr(_member(name), texts[name])
            else:
                sums[name] = _add_file(archive, name, files[name])
        archive.writestr(_member(LIST), sums_text(sums))


def _member(name):
    member = zipfile.ZipInfo(name)  # of 1980, the first year of zips
    member.create_system, member.external_attr = 3, 0o100644 << 16
    return member


def _add_file(archive, name, path):
    """Add a file; its sha256, of the bytes that were added."""
    member, digest = _member(name), hashlib.sha256()
    member.file_size = Path(path).stat().st_size  # says whether it needs zip64
    with archive.open(member, "w") as file, open(path, "rb") as source:
        while part := source.read(1 << 20):
            digest.update(part)
            file.write(part)
    return digest.hexdigest()


def verify_archive(path, signers=None, name=None):
    """Say whether a zip holds what a run made, and who signed. Nothing is unpacked.

    Its list of sums tells damage, sidecars tell changed results, the signature tells both changed
    together. Raises InputError if anything is wrong.
    """
    name = name or path
    try:
        with zipfile.ZipFile(path) as archive:
            sums, listed = _sums_in(archive), archive.read(LIST)
            sidecars = [
                checked_sidecar(json.loads(archive.read(file)), file)
                for file in sums
                if Path(file).is_relative_to(FOLDER) and file.endswith(".json")
            ]
            either = sums.keys() & {str(SUMS), str(SIGNATURE)}
            signed = either and [archive.read(str(file)) for file in (SUMS, SIGNATURE)]
    except DAMAGE as error:
        raise InputError(f"{name}: damaged, or no zip of archive_results.py ({error})") from error
    inside = {name: digest for name, digest in sums.items() if name != LIST}
    problems = differences(inside, parse_sums(listed, f"{name}: {LIST}"), "listed")
    problems += _differences_from_jobs(inside, sidecars)
    if signed:
        by = signer(*signed, signers)
        problems += _differences_from_signed(inside, parse_sums(signed[0], SUMS))
        print(f"results and sidecars signed by {by}")
    elif signers:
        raise InputError(f"{name}: not signed")
    else:
        print(UNSIGNED)
    if problems:
        raise InputError(f"{name}: {problems} files are not what the run made")
    print(f"{name}: {len(sums)} files, as they were put in and as their jobs made them")


def _sums_in(archive):
    """{name: sha256} of all files in a zip. Raises ValueError where a name is twice in it."""
    sums = {}
    for member in archive.infolist():
        if member.filename in sums:
            raise ValueError(f"{member.filename} is in it twice")
        with archive.open(member) as file:
            sums[member.filename] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums


def _differences_from_jobs(sums, sidecars):
    """Print results that no job made so; their number."""
    made = {path: digest for sidecar in sidecars for path, digest in sidecar["outputs"].items()}
    results = {
        path: digest
        for path, digest in sums.items()
        if Path(path).is_relative_to("results")
        and not Path(path).is_relative_to(FOLDER.parent)
        and path != "results/ro-crate-metadata.json"
        and not made.keys() & set(map(str, Path(path).parents))
    }
    return differences(results, {path: made[path] for path in results if path in made}, "made")


def _differences_from_signed(sums, signed):
    """Print what isn't as it was signed, and what of the record is left out; their number."""
    found = {path: digest for path, digest in sums.items() if Path(path).is_relative_to("results")}
    found = {path: found[path] for path in found.keys() - {str(SUMS), str(SIGNATURE)}}
    expected = {
        path: digest
        for path, digest in signed.items()
        if path in found or Path(path).is_relative_to(FOLDER.parent)
    }
    return differences(found, expected, "signed")
