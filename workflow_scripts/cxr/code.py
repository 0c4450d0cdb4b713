"""The code of a step: its script and the modules that this imports. Standard library only.

rules/ imports it, in the controller's environment, to note in each sidecar which code ran.
"""

import hashlib
import re
from functools import cache
from pathlib import Path

# How steps log and write files changes no result, so these modules don't count.
WITHOUT_EFFECT = ("files", "cli")


def digest_of(paths):
    """What changes with the content of files, not with their age."""
    content = b"\0".join(path.read_bytes() for path in sorted(paths))
    return hashlib.sha256(content).hexdigest()[:16]


@cache
def code_digest(script):
    """Digest of a script (Path) and of the modules of cxr/ that it imports, directly or not."""
    folder = Path(script).parent
    found = to_read = {Path(script)}
    while to_read:
        text = "\n".join(path.read_text() for path in to_read)
        imports = re.findall(r"^\s*from (cxr[\w.]*) import ([\w, ]+|\([^)]*\))", text, re.MULTILINE)
        names = {
            name
            for module, listed in imports
            for name in [module, *(f"{module}.{n}" for n in re.findall(r"\w+", listed))]
        }
        modules = {folder / f"{name.replace('.', '/')}.py" for name in names}
        to_read = {
            path for path in modules if path.exists() and path.stem not in WITHOUT_EFFECT
        } - found
        found = found | to_read
    return digest_of(found)
