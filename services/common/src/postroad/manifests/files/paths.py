"""
Finds the files of manifests: those that are named, and those in named folders.

It follows symbolic links, because a ConfigMap volume consists of them: `m.yaml` points to
`..data/m.yaml`, and `..data` to the folder of the current version. Each folder is entered once, so
links may form a circle. The number of entries is limited, because a link may point to a whole file
system.

Paths are strings here: `up` scans them again and again, and `Path` costs more than the system
calls.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

MAX_FILES = 10_000
MAX_ENTRIES = 20_000  # below each named path: files, folders and links, manifests or not
SUFFIXES = (".yaml", ".yml", ".json")

Refuse = Callable[[str, str, str], None]  # a path, what it is, why it is not read


def manifest_files(paths: Iterable[Path], refuse: Refuse) -> Iterator[str]:
    """Yield each file once, in order; call `refuse` for each path that cannot be read."""
    seen: set[str] = set()
    count = 0
    for path in map(str, paths):
        for file, identity in _files(path, refuse):
            count += 1
            if count > MAX_FILES:
                refuse(path, "file", f"there are more than {MAX_FILES} files; name fewer folders")
                return
            # A file may be named twice: by itself, by its folder, or by a link.
            if identity not in seen:
                seen.add(identity)
                yield file


def _files(root: str, refuse: Refuse) -> Iterator[tuple[str, str]]:
    """Yield each manifest and its resolved path; a folder's files come before its subfolders."""
    real = os.path.realpath(root)
    if not os.path.isdir(root):  # noqa: PTH112 - that of Path raises where it may not look
        yield root, real
        return
    entered = {real}
    waiting = [(root, real)]
    left = MAX_ENTRIES
    while waiting:
        folder, real = waiting.pop()
        entries = _entries(folder, left, refuse)
        left -= len(entries)
        if left < 0:
            reason = (
                f"there are more than {MAX_ENTRIES} files and folders in it and behind its links,"
                f" and nothing was read from {folder} on; name some of its folders"
            )
            refuse(root, "folder", reason)
            return
        inner = []
        for entry in entries:
            if _is_folder(entry):
                identity = _identity(entry, real)
                if identity not in entered:
                    entered.add(identity)
                    inner.append((entry.path, identity))
            elif entry.name.endswith(SUFFIXES):
                yield entry.path, _identity(entry, real)
        waiting += reversed(inner)


def _entries(folder: str, most: int, refuse: Refuse) -> list[os.DirEntry[str]]:
    """Return the sorted entries of a folder; if it has more than `most`, one more than that."""
    found: list[os.DirEntry[str]] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                # ConfigMap volumes have their versions in hidden folders such as ..2026_11_24.
                if not entry.name.startswith("."):
                    found.append(entry)
                    if len(found) > most:
                        break
    except OSError as error:
        refuse(folder, "folder", f"cannot be read: {error.strerror or error}")
    found.sort(key=lambda entry: entry.name)
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that cannot be followed: reading it reports why
        return False


def _identity(entry: os.DirEntry[str], folder: str) -> str:
    """Return the resolved path of an entry in a folder, whose own resolved path is given."""
    return os.path.realpath(entry.path) if entry.is_symlink() else f"{folder}/{entry.name}"
