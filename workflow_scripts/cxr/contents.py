"""What a file really holds: downloads, saved pages and other programs' files under a wrong name.

Needs neither pandas nor PyTorch.
"""

import csv
import gzip
import io
import json
import zlib
from pathlib import Path

from cxr.cli import InputError

HEAD = 4096  # bytes that tell what a file is
GZIP, ZIP, HTML = "gzip", "zip", "an HTML or XML page"
UTF_16 = "UTF-16 or UTF-32 text"
LOCK = "Excel's lock file"
LFS = "a Git LFS pointer, not the file that it stands for"
ADVICE = {
    LOCK: "give the workbook without ~$, saved as 'CSV UTF-8'",
    HTML: "open it in a browser to see what the server says, then download the file again",
    LFS: "run `git lfs pull`, or download the file from where it is",
    UTF_16: "save it as UTF-8 (Excel: 'CSV UTF-8')",
}
_STARTS = (
    (b"\x1f\x8b", GZIP),
    (b"PK\x03\x04", ZIP),
    (b"PK\x05\x06", ZIP),
    (b"\xd0\xcf\x11\xe0", "an old or encrypted Office document"),
    (b"version https://git-lfs", LFS),
    (b"/annex/objects/", "a git-annex pointer, not the file that it stands for"),
    (b"\x00\x05\x16\x07", "a macOS companion file (._NAME)"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"II*\x00", "a TIFF image"),
    (b"MM\x00*", "a TIFF image"),
    (b"\x89HDF", "an HDF5 file"),
    (b"\x93NUMPY", "a NumPy array"),
    (b"7z\xbc\xaf", "a 7-Zip archive"),
    (b"BZh", "a bzip2 file"),
    (b"\xfd7zXZ", "an xz file"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file"),
    (b"Rar!", "a RAR archive"),
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (b"\x00\x00\xfe\xff", UTF_16),
)


def what_it_is(content):
    """A few words on bytes (a file's first HEAD suffice) that are no table's and no net's.

    GZIP, ZIP, HTML and UTF_16 are among them; None where the bytes could be anything.
    """
    if not content:
        return "an empty file"
    for start, kind in _STARTS:
        if content.startswith(start):
            return kind
    if content.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<"):
        return HTML
    head = content[:HEAD]
    if head[257:262] == b"ustar":
        return "a tar archive"
    if not head.strip(b"\x00"):
        return "zeros: an unfinished download or a damaged disk"
    if len(head) > 3 and (not any(head[1::2]) or not any(head[::2])):
        return UTF_16  # of Latin letters, without a byte order mark
    return None


def what_is(path):
    """what_it_is of a file."""
    with open(path, "rb") as file:
        return LOCK if is_lock(path) else what_it_is(file.read(HEAD))


def is_lock(path):
    """Whether a file is what Excel lays beside a workbook that is open."""
    return Path(path).name.startswith("~$")


def refuse_other(path, expected):
    """Raise InputError if a binary file is plainly something else: a page, a pointer, cut to 0."""
    if (kind := what_is(path)) not in (None, ZIP):
        raise InputError(
            f"{path}: found {kind}, expected {expected}; {ADVICE.get(kind, 'download it again')}"
        )


def read_text(path, expected, encoding="utf-8"):
    """A text file, UTF-8 with or without a byte order mark or as encoding says, plain or gzipped.

    expected: a few words for the message. Raises InputError for whatever else it is.
    """
    content, where = Path(path).read_bytes(), str(path)
    kind = LOCK if is_lock(path) else what_it_is(content[:HEAD])
    if kind == GZIP:
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise InputError(
                f"{path}: found a cut or damaged gzip file ({error}), expected {expected}; "
                "get it again"
            ) from error
        kind, where = what_it_is(content[:HEAD]), f"{path}, unpacked"
    if kind == ZIP:
        workbook = b"[Content_Types].xml" in content or b"xl/" in content
        kind = "an Excel workbook" if workbook else "a zip archive"
        raise InputError(
            f"{where}: found {kind}, expected {expected}; "
            + ("save it as 'CSV UTF-8'" if workbook else "unpack it")
        )
    if kind:
        raise InputError(
            f"{where}: found {kind}, expected {expected}; {ADVICE.get(kind, 'get it again')}"
        )
    return _decode(where, content, expected, encoding)


def _decode(where, content, expected, encoding):
    if b"\x00" in content:
        line = content.count(b"\n", 0, content.index(b"\x00")) + 1
        raise InputError(
            f"{where}, line {line}: found a NUL byte, expected {expected}; the file is damaged"
        )
    try:
        return content.decode("utf-8-sig" if encoding == "utf-8" else encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{where}, line {line}: found bytes that are not UTF-8 (Latin-1?), expected "
            f"{expected}; save it as UTF-8, or get it again if it is damaged"
        ) from error


def read_json(path, keys=(), expected="JSON"):
    """A JSON object with these keys. Raises InputError for whatever else the file holds."""
    text = read_text(path, expected)
    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(
            f"{path}: found incomplete or invalid JSON ({error}), expected {expected}"
        ) from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: found a JSON {type(found).__name__}, expected {expected}")
    if missing := [key for key in keys if key not in found]:
        raise InputError(f"{path}: found no entry {missing[0]!r}, expected {expected}")
    return found


def read_names(path):
    """Names, one a line, of a text file, plain or gzipped; blank lines don't count."""
    names = [line.strip() for line in read_text(path, "a list of names, one a line").splitlines()]
    if not any(names):
        raise InputError(f"{path}: found no name, expected one per line")
    return [name for name in names if name]


def read_rows(path, columns=(), rename=None, encoding="utf-8"):
    """Rows of a CSV table with a header: (names, rows); rows are (number of the line, texts).

    Commas, semicolons or tabs separate the fields. Columns without a name and rows without a
    value are dropped, as is an empty field more at the end of every row (NIH's table of 2017), and
    are names without a value at the end of the header (NIH's list of boxes).
    rename: function of a column's name. Raises InputError for a missing column, a name that is
    there twice, a row of another length than the header, and what read_text refuses.
    """
    text = read_text(path, _expected(columns), encoding)
    if text.lstrip().startswith(("{", "[")):
        raise InputError(f"{path}: found JSON, expected {_expected(columns)}; get it again")
    found, rows = _split_fields(path, text, ",")
    names = _names(found, rename)
    for separator in ";\t":
        if not set(columns) <= set(names) and separator in text.partition("\n")[0]:
            found, rows = _split_fields(path, text, separator)
            names = _names(found, rename)
    if missing := [column for column in columns if column not in names]:
        raise InputError(
            f"{path}: no column {missing[0]!r}; found {_short(names)}, "
            f"expected {_expected(columns)}"
        )
    if twice := [name for name in names if name and names.count(name) > 1]:
        raise InputError(f"{path}: found the column {twice[0]!r} twice, expected it once")
    while len(names) > max((len(fields) for _, fields in rows), default=1) and not names[-1]:
        names.pop()
    rows = _of_length(path, rows, len(names))
    named = [place for place, name in enumerate(names) if name]
    if len(named) < len(names):
        rows = [(line, [fields[place] for place in named]) for line, fields in rows]
    return [names[place] for place in named], rows


def read_records(path, columns=()):
    """Rows of a CSV table as mappings from the columns' names to texts; else as read_rows."""
    names, rows = read_rows(path, columns)
    return [dict(zip(names, fields, strict=True)) for _, fields in rows]


def _expected(columns):
    return f"a CSV table with columns {list(columns)}" if columns else "a CSV table"


def _short(names):
    return f"{names[:20]}{'...' if len(names) > 20 else ''}"[:300]


def _names(fields, rename):
    names = [field.strip() for field in fields]
    return [rename(name) for name in names] if rename else names


def _split_fields(path, text, separator):
    """(header, [(number of the line, fields)]) of all lines that hold something."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    rows, line = [], 0
    try:
        for fields in reader:
            if any(map(str.strip, fields)):
                rows.append((line + 1, fields))
            line = reader.line_num
    except csv.Error as error:
        raise InputError(
            f"{path}, line {line + 1}: found a quote that is open or misplaced ({error}), "
            "expected a CSV table; close it, or get the file again"
        ) from error
    if not rows:
        raise InputError(f"{path}: found only blank lines, expected a CSV table")
    return rows[0][1], rows[1:]


def _of_length(path, rows, n):
    """rows of n fields each; InputError names the first that has fewer or more."""
    longest = max((len(fields) for _, fields in rows), default=n)
    if longest > n and all(len(f) == longest and not any(f[n:]) for _, f in rows):
        return [(line, fields[:n]) for line, fields in rows]
    for line, fields in rows:
        if len(fields) != n:
            raise InputError(
                f"{path}, line {line}, {fields[0][:80]!r}: found {len(fields)} fields, expected "
                f"{n} as in the header; is the line cut, or a comma not quoted?"
            )
    return rows
