"""
Files and folders of manifests, read so that every mistake has its file, line, field and reason.

Bounded whatever is in them: size and number of files, depth and number of values. A file that
cannot be read makes the whole reading incomplete, so that nothing declared in it is taken for
deleted while somebody is mending it.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath

from postroad.policy.declared import Declared, Objects, Path, Problem, Reference, format_path
from postroad.policy.manifest import (
    Foreign,
    NamespaceObject,
    Refused,
    SecretObject,
    read_object,
)
from postroad.policy.model import ObjectKey
from postroad.policy.source_yaml import Document, YamlMistake, read_documents

MAX_FILE = 4 * 1024 * 1024  # bytes
MAX_FILES = 10_000
SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One thing that is wrong in a file; its text is `file:line: field: reason`."""

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.field}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an object stands: its file, the path to it in its document, and the lines there."""

    file: str
    document: Document
    root: Path = ()

    def mistake(self, problem: Problem) -> Mistake:
        """Return a problem of the object as a mistake of the file."""
        path = self.root + problem.path
        field = format_path(path) or "document"
        return Mistake(self.file, self.document.line_of(path), field, problem.reason)

    def __str__(self) -> str:
        return f"{self.file}:{self.document.line_of(self.root)}"


@dataclass
class Manifests:
    """What was read: the objects, where each stands, what is wrong, what was passed over."""

    objects: Objects = field(default_factory=Objects)
    origins: dict[Reference, Origin] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_manifests(paths: Iterable[FilePath]) -> Manifests:
    """Read files and, recursively, folders (*.yaml, *.yml, *.json; names with a dot first not)."""
    reader = _Reader()
    seen = set()
    for file in _files(paths, reader):
        # A folder and a file in it may both be named; the order is that of the first mention.
        identity = os.path.realpath(file)
        if identity not in seen:
            seen.add(identity)
            reader.read_file(file)
    return reader.finish()


def _files(paths: Iterable[FilePath], reader: "_Reader") -> Iterator[FilePath]:
    count = 0
    for path in paths:
        for file in _walk(path) if path.is_dir() else (path,):
            count += 1
            if count > MAX_FILES:
                reason = f"there are more than {MAX_FILES} files; name fewer folders"
                reader.unreadable(path, 1, "file", reason)
                return
            yield file


def _walk(folder: FilePath) -> Iterator[FilePath]:
    for where, folders, files in os.walk(folder):
        # ConfigMap volumes keep their versions in folders named ..2026_11_24 and the like.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and FilePath(name).suffix in SUFFIXES:
                yield FilePath(where, name)


class _Reader:
    """Gathers objects and mistakes over all files."""

    def __init__(self) -> None:
        self._result = Manifests()
        self._declared: list[Declared] = []
        self._secrets: dict[ObjectKey, Mapping[str, bytes]] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._where: dict[object, Origin] = {}
        self._complete = True

    def finish(self) -> Manifests:
        """Return all that was read."""
        self._result.objects = Objects(
            tuple(self._declared), self._secrets, self._namespaces, self._complete
        )
        self._result.mistakes.sort()
        return self._result

    def unreadable(self, file: FilePath, line: int, field: str, reason: str) -> None:
        """Note what keeps a file, or its rest, from being read."""
        self._complete = False
        self._result.mistakes.append(Mistake(str(file), line, field, reason))

    def read_file(self, file: FilePath) -> None:
        """Read one file to its end, or to what is not YAML in it."""
        try:
            for document in read_documents(_text(file)):
                self._add_document(Origin(str(file), document))
        except OSError as error:
            self.unreadable(file, 1, "file", f"cannot be read: {error.strerror or error}")
        except YamlMistake as mistake:
            field = format_path(mistake.field) or "yaml"
            self.unreadable(file, mistake.line, field, mistake.reason)

    def _add_document(self, origin: Origin) -> None:
        value = origin.document.value
        if isinstance(value, Mapping) and str(value.get("kind", "")) == "List":
            items = value.get("items", [])
            if not isinstance(items, Sequence) or isinstance(items, str):
                problem = Problem(("items",), "must be a list of objects")
                self._refuse(origin, (problem,))
                return
            for index, item in enumerate(items):
                self._add_object(item, replace(origin, root=("items", index)))
        else:
            self._add_object(value, origin)

    def _add_object(self, raw: object, origin: Origin) -> None:
        found = read_object(raw, order=len(self._declared))
        if isinstance(found, Refused):
            # It may be the form of an object that is in force and cannot be told from here.
            self._complete = False
            self._refuse(origin, found.problems)
        elif isinstance(found, Foreign):
            self._result.notes.append(f"{origin}: {found.what} is not for Postroad; passed over")
        elif isinstance(found, SecretObject):
            if self._is_first(("Secret", found.key), f"Secret {found.key}", origin):
                self._secrets[found.key] = found.data
        elif isinstance(found, NamespaceObject):
            if self._is_first(("Namespace", found.name), f"Namespace {found.name}", origin):
                self._namespaces[found.name] = found.labels
        elif self._is_first(found.reference, str(found.reference), origin):
            self._declared.append(found)
            self._result.origins[found.reference] = origin
            self._refuse(origin, found.problems)

    def _is_first(self, identity: object, name: str, origin: Origin) -> bool:
        first = self._where.setdefault(identity, origin)
        if first is not origin:
            problem = Problem(("metadata", "name"), f"{name} stands at {first} already; keep one")
            self._refuse(origin, (problem,))
        return first is origin

    def _refuse(self, origin: Origin, problems: Iterable[Problem]) -> None:
        self._result.mistakes += [origin.mistake(problem) for problem in problems]


def _text(file: FilePath) -> str:
    if file.exists() and not file.is_file():
        raise YamlMistake(1, "is neither a file nor a folder", ("file",))
    with file.open("rb") as opened:
        content = opened.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise YamlMistake(1, f"is larger than {MAX_FILE // 1024 // 1024} MiB; split it", ("file",))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlMistake(line, "is not UTF-8 text", ("file",)) from None
    # YAML forbids tabs where JSON allows them, and JSON has none inside its texts.
    return text.replace("\t", " ") if file.suffix == ".json" else text
