"""Fetch one file from a URL or a local path and verify its checksums.

A local file is linked, not copied. The output appears once its checksums match. An interrupted
download resumes, even after its process was killed: the part that was received is in a hidden file
beside the output.
"""

from pathlib import Path

from cxr.cli import InputError, parser, user_errors
from cxr.data.download import fetch_url
from cxr.data.sources import check_file, link_local


def download(out, url=None, local=None, **expected):
    expected = {kind: value for kind, value in expected.items() if value is not None}
    if local:
        if not local.is_file():
            raise InputError(
                f"{local}: no such file; it is configured as the local source of {out.name}"
            )
        check_file(local, expected)
        link_local(local, out)
    else:
        fetch_url(url, out, expected)


if __name__ == "__main__":
    arguments = parser(__doc__)
    source = arguments.add_mutually_exclusive_group(required=True)
    source.add_argument("--url")
    source.add_argument("--local", type=Path)
    arguments.add_argument("--out", type=Path, required=True)
    arguments.add_argument("--bytes", type=int, help="expected size")
    arguments.add_argument("--md5")
    arguments.add_argument("--sha256")
    arguments.add_argument(
        "--sha256-prefix", help="its first digits, as in torchvision's file names"
    )
    arguments.add_argument("--git-blob", help="as `git hash-object` prints")
    with user_errors():
        download(**vars(arguments.parse_args()))
