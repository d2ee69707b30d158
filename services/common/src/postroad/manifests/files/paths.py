"""
Which files of manifests there are: those that are named, and those in folders.

Symbolic links are followed, as a ConfigMap volume is made of them: `m.yaml` leads to
`..data/m.yaml`, and `..data` to the folder of the version that is in force. Each folder is entered
once, so links may lead in a circle. How many files and folders are looked at is bounded.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

MAX_FILES = 10_000
MAX_FOLDERS = 10_000
SUFFIXES = frozenset({".yaml", ".yml", ".json"})

Refuse = Callable[[Path, str, str], None]  # a path, what it is, why it is not read


def manifest_files(paths: Iterable[Path], refuse: Refuse) -> Iterator[Path]:
    """Yield each file once, in the order of its first mention; `refuse` what cannot be read."""
    seen: set[str] = set()
    count = 0
    for path in paths:
        for file in _files(path, refuse):
            count += 1
            if count > MAX_FILES:
                refuse(path, "file", f"there are more than {MAX_FILES} files; name fewer folders")
                return
            # A folder and a file in it may both be named, and a link leads to what is there too.
            identity = os.path.realpath(file)
            if identity not in seen:
                seen.add(identity)
                yield file


def linked(paths: Iterable[Path]) -> list[Path]:
    """
    Return what is in the folders among `paths` through symbolic links: files, and folders too.

    Who watches those folders is not told of changes at the end of a link.
    """
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            continue
        through: set[Path] = set()  # folders
        for folder, names in _walk(path, _pass_over):
            if folder != path and (folder.is_symlink() or folder.parent in through):
                through.add(folder)
                found.append(folder)
            files = (folder / name for name in names)
            found += [file for file in files if folder in through or file.is_symlink()]
    return found


def _pass_over(*_: object) -> None:
    """Leave it to who reads the files to tell of what cannot be read."""


def _files(path: Path, refuse: Refuse) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, names in _walk(path, refuse):
        yield from (folder / name for name in names)


def _walk(root: Path, refuse: Refuse) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder with the names of its manifests."""

    def unreadable(error: OSError) -> None:
        refuse(Path(error.filename), "folder", f"cannot be read: {error.strerror or error}")

    entered = {os.path.realpath(root)}

    def is_new(folder: Path) -> bool:
        known = len(entered)
        entered.add(os.path.realpath(folder))
        return len(entered) > known

    for where, folders, files in os.walk(root, onerror=unreadable, followlinks=True):
        # ConfigMap volumes keep their versions in folders named ..2026_11_24 and the like.
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in visible if is_new(Path(where, name))]
        if len(entered) > MAX_FOLDERS:
            reason = f"there are more than {MAX_FOLDERS} folders; name some of them"
            refuse(root, "folder", reason)
            return
        yield (
            Path(where),
            sorted(
                name for name in files if not name.startswith(".") and Path(name).suffix in SUFFIXES
            ),
        )
