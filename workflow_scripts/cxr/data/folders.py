"""What lies below a folder, but for what is never an image of a data set."""

import os
import re
import stat
from pathlib import Path, PurePosixPath

# Left by macOS, Windows and Synology beside or inside folders of images.
CLUTTER = {"__macosx", "thumbs.db", "desktop.ini", "@eadir"}
MASKS = re.compile(r"(?<![a-z])masks?(?![a-z])", re.IGNORECASE)


def is_clutter(name):
    """Whether a path, also in an archive, is hidden or is what a desktop leaves in folders."""
    parts = PurePosixPath(name).parts
    return any(part.startswith(".") or part.lower() in CLUTTER for part in parts)


def walk(folder, out=None):
    """Yield (path, why it is passed over or None) of what lies below a folder, in order.

    Clutter and what is in the folder out are left out. Links to folders elsewhere are followed, to
    each folder once. Masks are passed over by the names of their folders, and what is no file
    (pipes, devices) by its kind; nothing is opened. A folder that can't be listed is yielded.
    """
    root, closed, seen = Path(folder).resolve(), [], {out}
    for place, folders, names in os.walk(folder, onerror=closed.append, followlinks=True):
        of_masks = any(MASKS.search(part) for part in Path(place).relative_to(folder).parts)
        folders[:] = [name for name in sorted(folders) if _is_new(Path(place, name), root, seen)]
        for name in sorted(names):
            if not is_clutter(name):
                path = Path(place, name)
                yield path, "in folders of masks" if of_masks else _no_file(path)
    yield from ((Path(error.filename), None) for error in closed)


def _is_new(folder, root, seen):
    """Whether a folder is to be searched; it is noted in seen. Links within root are not."""
    real = folder.resolve()
    inside = root.is_relative_to(real) or real.is_relative_to(root)
    if is_clutter(folder.name) or real in seen or (folder.is_symlink() and inside):
        return False
    seen.add(real)
    return True


def _no_file(path):
    """Why a path that is no folder can't be read as a file; None if it can, or is a dead link."""
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return None
    return None if regular else "no files, but pipes, sockets or devices"
