"""List the images of an external set: X-rays from elsewhere, labelled, that nets are tested on.

SOURCE is a folder, a zip file, an image or a table of the set; FOLDER gets a link of its NAME to
each, and zip files unpacked. Images are PNG or JPEG. The class of an image is told by the name of
a folder that it is in or, with --table, by a word in the column --class-column of that table.
--classes says which words are which class; images with other words are left out, as are rows whose
words are not those of --only. The table names an image by its path, or only so much of it, from the
end, as no other image has; the suffix may be missing.

Writes OUT, a row per image: image (as the table names it, else path), path (below FOLDER), class,
patient_id (empty: unknown), sha256, and reason: empty, or why it is left out.
"""

import json
import os
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import pandas as pd
from cxr.checksums import file_sum, git_tree
from cxr.cli import InputError, pair, parser, user_errors
from cxr.data.covid19 import CLASSES
from cxr.data.decoding import image_files, print_passed
from cxr.data.folders import walk
from cxr.data.sources import link_local, unpack_zip
from cxr.files import write_table
from cxr.tables import is_missing, read_table

COLUMNS = ["image", "path", "class", "patient_id", "sha256", "reason"]


def list_external(
    sources, classes, folder, out, trees=(), table=None, image_column=None, class_column=None,
    patient_column=None, only=(), encoding="utf-8",
):  # fmt: skip
    if table and not (image_column and class_column):
        raise InputError("--table needs --image-column and --class-column")
    class_of = classes_by_word(classes)
    bring_together(sources, folder, dict(trees))
    passed = Counter()
    files = [path.as_posix() for path in image_files(folder, passed)]
    print_passed(folder, passed)
    if table:
        columns = {"image": image_column, "word": class_column, "patient_id": patient_column}
        path = find_table(table, folder)
        images = images_of_table(path, columns, only, class_of, files, encoding)
    else:
        images = images_of_folders(folder, class_of, files)
    used = images.reason == ""
    check_words(path if table else folder, class_of, images)
    paths = [folder / path for path in images.path[used]]
    images["sha256"] = ""
    # What can't be read is left to prepare_external, which names it.
    images.loc[used, "sha256"] = [
        file_sum(path, "sha256") if os.access(path, os.R_OK) else "" for path in paths
    ]
    reasons = [f"{n} {reason}" for reason, n in Counter(images.reason[~used]).most_common()]
    print(f"{used.sum()} images, {(~used).sum()} left out", *reasons, sep="; ")
    write_table(out, images[COLUMNS])


def classes_by_word(classes):
    """{word: class} of {class: a word or a list of words}; InputError if a word has two classes."""
    found = {}
    for name, words in classes.items():
        if name not in CLASSES:
            raise InputError(f"--classes: class {name!r}; expected one of {list(CLASSES)}")
        for word in [words] if isinstance(words, str) else words:
            if found.setdefault(word, name) != name:
                raise InputError(f"--classes: {word!r} is {found[word]} and {name}; expected one")
    return found


def bring_together(sources, folder, trees):
    """Link the sources, (name, path), into a folder; zip files are unpacked into it.

    trees: {name of a zip file: the git tree that is its one folder}. InputError if it isn't.
    """
    for name, source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such file or folder")
        if source.is_file() and zipfile.is_zipfile(source):
            unpacked = unpack_zip(source, folder / name.removesuffix(".zip"))
            if name in trees:
                check_tree(source, unpacked, trees[name])
        elif source.suffix.lower() == ".zip" or name in trees:
            raise InputError(f"{source}: not a whole zip file; remove it, and get it again")
        else:
            link_local(source, folder / name)


def check_tree(source, unpacked, expected):
    """Raise InputError unless a zip file of a commit, unpacked, has the files of a git tree."""
    inside = list(unpacked.iterdir())
    found = git_tree(inside[0]) if len(inside) == 1 and inside[0].is_dir() else "no single folder"
    if found != expected:
        raise InputError(
            f"{source}: the git tree in it is {found}, expected {expected}; it is another commit, "
            "or damaged: remove it, and get it again"
        )


def images_of_folders(folder, class_of, files):
    """A row per image: the class is told by the folders above it."""
    rows = []
    for file in files:
        words = [part for part in PurePosixPath(file).parts[:-1] if part in class_of]
        if len({class_of[word] for word in words}) > 1:
            raise InputError(f"{folder / file}: found folders of two classes above it, {words}")
        word = words[0] if words else ""
        reason = "" if words else "in no folder of a class"
        rows.append((file, file, word, class_of.get(word, ""), "", reason))
    return pd.DataFrame(rows, columns=["image", "path", "word", "class", "patient_id", "reason"])


# With a table


def find_table(name, folder):
    """Path of the one file below a folder whose path ends so; InputError if there is none."""
    ending = PurePosixPath(name).parts
    found = [path for path, reason in walk(folder) if path.parts[-len(ending) :] == ending]
    if len(found) != 1:
        several = f"{len(found)} of them, first {found[:2]}" if found else "none"
        raise InputError(f"{folder}: expected one table {name!r}, found {several}")
    return found[0]


def images_of_table(path, columns, only, class_of, files, encoding):
    """A row per image that a table or the folder has."""
    table = read_words(path, columns, only, class_of, encoding)
    places, used = places_of(files), table.reason == ""
    missing = [name for name in table.image[used] if not places.get(key_of(name))]
    if missing:
        raise InputError(
            f"{path}: found {len(missing)} images that are not there, first {missing[0]!r}; "
            "expected PNG or JPEG files in the set's sources"
        )
    for name in table.image[used]:
        if len(found := places[key_of(name)]) > 1:
            raise InputError(f"{path}: image {name!r} could be {found[0]} or {found[1]}")
    found = [places.get(key_of(name), []) for name in table.image]
    table["path"] = [paths[0] if len(paths) == 1 else "" for paths in found]
    table["class"] = table.word.map(class_of).where(used, "")
    table = without_repeats(path, table)
    others = sorted(set(files) - set(table.path))
    rest = pd.DataFrame({"image": others, "path": others, "reason": "in no row of the table"})
    return pd.concat([table, rest]).fillna("").reset_index(drop=True)


def read_words(path, columns, only, class_of, encoding):
    """image, word, patient_id (empty: unknown) and reason of each row of a table.

    columns: {image, word and perhaps patient_id: the table's name}. only: pairs of a column and a
    word that is taken.
    """
    named = {key: name for key, name in columns.items() if name}
    needed = list(dict.fromkeys([*named.values(), *(name for name, _ in only)]))
    texts = read_table(path, needed, filled=[named["image"]], text=needed, encoding=encoding)
    texts = texts[needed].apply(lambda column: column.str.strip())
    for name, word in only:
        if word not in set(texts[name]):
            raise InputError(
                f"{path}: no row has {word!r} in the column {name!r}; found "
                f"{sorted(set(texts[name]))[:8]}"
            )
    table = pd.DataFrame({key: texts[name] for key, name in named.items()})
    if "patient_id" not in named:
        table["patient_id"] = ""
    table["patient_id"] = table.patient_id.mask(is_missing(table.patient_id), "")
    rows = zip(texts.to_dict("records"), table.word, strict=True)
    table["reason"] = [why_left_out(row, word, only, class_of) for row, word in rows]
    return table


def why_left_out(row, word, only, class_of):
    """Why a row of a table, {column: text}, with a word is left out; nothing if it is not."""
    for name in dict.fromkeys(name for name, _ in only):
        if (name, row[name]) not in only:
            return f"{name} is {row[name]!r}"
    if word in class_of:
        return ""
    return f"labelled {word!r}" if word else "not labelled"


def places_of(files):
    """{what an image may be called: paths of those that are called so}."""
    found = {}
    for file in files:
        parts = PurePosixPath(file).parts
        endings = ["/".join(parts[start:]) for start in range(len(parts))]
        for ending in endings:
            for name in (ending, str(PurePosixPath(ending).with_suffix(""))):
                found.setdefault(name, []).append(file)
    return found


def key_of(name):
    """An image's name in a table as places_of has it."""
    return name.replace("\\", "/").removeprefix("./").lstrip("/")


def without_repeats(path, table):
    """The table with one row per image; InputError where two rows say different things of one."""
    labelled = table[table.path != ""]
    for column, what in (("word", "labels"), ("patient_id", "patients")):
        words = labelled.groupby("path", sort=False)[column].unique()
        if len(odd := words[words.str.len() > 1]):
            raise InputError(
                f"{path}: found {what} {list(odd.iloc[0])} for the image {odd.index[0]}, expected "
                "one"
            )
    twice = (table.path != "") & (table.reason == "") & table.duplicated(["path", "reason"])
    table.loc[twice, "reason"] = "in another row, too"
    return table


def check_words(where, class_of, images):
    """Raise InputError where a word is that of no image: it may be misspelt."""
    found = Counter(images.word[images["class"] != ""])
    if missing := [word for word in class_of if not found[word]]:
        others = Counter(images.reason[images.reason != ""]).most_common(5)
        left_out = "; ".join(f"{n} {reason}" for reason, n in others) or "none"
        raise InputError(
            f"{where}: no image is {missing[0]!r} ({class_of[missing[0]]}); found "
            f"{dict(found)}, left out {left_out}: is the word right?"
        )


if __name__ == "__main__":
    arguments = parser(__doc__)
    arguments.add_argument(
        "--sources", type=pair(Path), nargs="+", required=True, metavar="NAME=SOURCE"
    )
    arguments.add_argument(
        "--trees", type=pair(), nargs="*", default=[], metavar="NAME=SHA1",
        help="git trees of zip files of commits",
    )  # fmt: skip
    arguments.add_argument(
        "--classes", type=json.loads, required=True, help="JSON: {CLASS: WORD or [WORDS]}"
    )
    arguments.add_argument("--table", help="path, or its end, of a table below FOLDER")
    for name in ("image", "class", "patient"):
        arguments.add_argument(f"--{name}-column", metavar="COLUMN", help="of the table")
    arguments.add_argument(
        "--only", type=pair(), nargs="*", default=[], metavar="COLUMN=WORD", help="rows to take"
    )
    arguments.add_argument(
        "--encoding", choices=("utf-8", "latin-1", "cp1252"), default="utf-8",
        help="of the table; default: utf-8",
    )  # fmt: skip
    arguments.add_argument("--folder", type=Path, required=True, help="to write")
    arguments.add_argument("--out", type=Path, required=True, help="CSV to write")
    with user_errors():
        list_external(**vars(arguments.parse_args()))
