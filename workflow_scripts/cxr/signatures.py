"""Signed sums of a run's results, by the user's SSH key; ssh-keygen does the signing."""

import re
import subprocess
from pathlib import Path
from tempfile import NamedTemporaryFile

from cxr.checksums import files_of, sha256_of
from cxr.cli import InputError
from cxr.provenance import FOLDER, said_by

RESULTS = Path("results")
SUMS = FOLDER.parent / "SHA256SUMS"  # as sha256sum writes and checks them
SIGNATURE = FOLDER.parent / "SHA256SUMS.sig"
UNSIGNED = "not signed: files that were changed together with their sidecars would go unnoticed"
NAMESPACE = "results"  # a signature for another purpose is none of these
LINE = re.compile(r"([0-9a-f]{64})  (\S.*)")


def sums_text(sums):
    return "".join(f"{digest}  {path}\n" for path, digest in sorted(sums.items()))


def parse_sums(content, name):
    """{path: sha256} of what sha256sum could have written, bytes. InputError if it is other."""
    lines = [LINE.fullmatch(line) for line in content.decode(errors="replace").split("\n")[:-1]]
    if not lines or not all(lines) or len({line[2] for line in lines}) < len(lines):
        raise InputError(f"{name}: not a list of sums, as sha256sum writes it")
    return {line[2]: line[1] for line in lines}


def signed_files(found):
    """{path: sha256} of what is signed: results, and the record of the run itself.

    found: {path: sha256} of the files and folders that sidecars name, as they are now.
    """
    sums = {}
    for path, digest in found.items():
        if Path(path).is_dir():
            sums |= {str(file): sha256_of(file) for file in files_of(path)}
        else:
            sums[path] = digest
    record = [RESULTS / "report.zip", RESULTS / "ro-crate-metadata.json", *files_of(FOLDER.parent)]
    for path in record:
        if path.exists() and path not in (SUMS, SIGNATURE):
            sums[str(path)] = sha256_of(path)
    return {path: digest for path, digest in sums.items() if Path(path).is_relative_to(RESULTS)}


def differences(found, expected, what):
    """Print each file whose sum, {path: sum}, is not the expected one; their number."""
    problems = {path: f"is missing, but was {what}" for path in expected.keys() - found.keys()}
    problems |= {path: f"was not {what}" for path in found.keys() - expected.keys()}
    for path in found.keys() & expected.keys():
        if found[path] != expected[path]:
            problems[path] = f"is not what was {what}"
    for path, problem in sorted(problems.items()):
        print(f"{path} {problem}")
    return len(problems)


def ssh_keygen(*words, data=None):
    """(exit code, output, errors) of ssh-keygen -Y. InputError where there is none."""
    command = ["ssh-keygen", "-Y", *map(str, words)]
    try:
        done = subprocess.run(command, input=data, capture_output=True)
    except FileNotFoundError as error:
        raise InputError("ssh-keygen: not found; OpenSSH 8.2 or later has it") from error
    said = [text.decode(errors="replace").strip() for text in (done.stdout, done.stderr)]
    return done.returncode, *said


def sign(data, key):
    """The signature of bytes by a private key, or by the agent's of a public key; as bytes."""
    code, signature, errors = ssh_keygen("sign", "-f", key, "-n", NAMESPACE, data=data)
    if code or "SSH SIGNATURE" not in signature:
        raise InputError(f"{key}: ssh-keygen can't sign with it: {errors[-200:]}")
    return f"{signature}\n".encode()


def default_key():
    """The user's key: of git, where it signs with SSH, else the first of the usual ones."""
    named = git_setting("user.signingkey") if git_setting("gpg.format") == "ssh" else ""
    usual = [Path.home() / ".ssh" / f"id_{kind}" for kind in ("ed25519", "ecdsa", "rsa")]
    places = [Path(named).expanduser()] if named else []
    places += usual + [path.with_suffix(".pub") for path in usual]
    found = next((path for path in places if path.exists()), None)
    if not found:
        raise InputError(
            "no SSH key in ~/.ssh or git's user.signingkey; name one: make sign KEY=FILE; "
            "ssh-keygen -t ed25519 makes one"
        )
    return found


def git_setting(name):
    try:
        return said_by("git", "config", "--get", name).strip()
    except (InputError, OSError):  # not set, or no git
        return ""


def signer(data, signature, signers=None):
    """Who signed data, in words; both are bytes. InputError if it is none of signers.

    signers: file as ssh-keygen's allowed_signers, by default git's gpg.ssh.allowedSignersFile;
    without either, any key may have signed, and its fingerprint is what is known of it.
    """
    with NamedTemporaryFile(suffix=".sig") as file:  # ssh-keygen takes data on stdin only
        file.write(signature)
        file.flush()
        on = ("-n", NAMESPACE, "-s", file.name)
        code, said, errors = ssh_keygen("check-novalidate", *on, data=data)
        if code:
            raise InputError(f"{SIGNATURE}: no signature of {SUMS}: {(errors or said)[:100]}")
        key = said.rpartition(" with ")[2]
        known = signers or git_setting("gpg.ssh.allowedSignersFile")
        if not known:
            return f"{key} (whose key that is, a file of signers says: SIGNERS=FILE)"
        known = Path(known).expanduser()
        if not known.exists():
            raise InputError(f"{known}: no such file of signers")
        _, said, _ = ssh_keygen("find-principals", "-s", file.name, "-f", known)
        name = said.partition("\n")[0]
        if not name or ssh_keygen("verify", "-f", known, "-I", name, *on, data=data)[0]:
            raise InputError(f"{SIGNATURE}: by {key}, which is none of the keys in {known}")
    return f"{name} with {key}"
