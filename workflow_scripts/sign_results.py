"""Sign the sums of all results and sidecars with your SSH key.

Start it in the folder that holds results/. Results have to match their sidecars, as
verify_results.py checks. Writes results/provenance/SHA256SUMS, which sha256sum --check reads, and
SHA256SUMS.sig by ssh-keygen -Y sign, and names both in the RO-Crate. Results that are made again
need a new signature.
"""

import hashlib
import json
from pathlib import Path

from cxr.cli import parser, user_errors
from cxr.files import read_object, write_file
from cxr.provenance import FOLDER
from cxr.signatures import (
    RESULTS,
    SIGNATURE,
    SUMS,
    default_key,
    sign,
    signed_files,
    signer,
    sums_text,
)
from verify_results import verify_sidecars

CRATE = RESULTS / "ro-crate-metadata.json"


def sign_results(key, threads):
    sums = signed_files(verify_sidecars(FOLDER, threads))
    crate = b""
    if CRATE.exists():
        crate = json.dumps(with_signature(read_object(CRATE)), indent=4).encode()
        sums[str(CRATE)] = hashlib.sha256(crate).hexdigest()
    text = sums_text(sums).encode()
    signature = sign(text, key)
    if crate:
        write_file(CRATE, crate)
    write_file(SUMS, text)
    write_file(SIGNATURE, signature)
    print(f"{len(sums)} files signed by {signer(text, signature)}")


def with_signature(crate):
    """The crate with the sums and their signature among its files."""
    texts = {SUMS: "sha256 of results and sidecars", SIGNATURE: "SSH signature of SHA256SUMS"}
    files = [
        {
            "@id": str(path.relative_to(RESULTS)),
            "@type": "File",
            "name": path.name,
            "description": text,
            "encodingFormat": "text/plain",
        }
        for path, text in texts.items()
    ]
    names = [file["@id"] for file in files]
    entities = [entity for entity in crate["@graph"] if entity.get("@id") not in names]
    root = next(entity for entity in entities if entity.get("@id") == "./")
    parts = [part for part in root.get("hasPart", []) if part["@id"] not in names]
    root["hasPart"] = parts + [{"@id": name} for name in names]
    return crate | {"@graph": entities + files}


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--key", type=Path, help="default: git's user.signingkey if it signs with SSH, ~/.ssh/id_*"
    )
    arguments.add_argument("--threads", type=int, default=2)
    chosen = arguments.parse_args()
    with user_errors():
        sign_results(chosen.key or default_key(), chosen.threads)
