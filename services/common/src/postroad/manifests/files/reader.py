"""
Reads files and folders of manifests; every mistake has its file, line, field and reason.

The size and number of files and the depth and number of values are limited. A file that cannot be
read makes the reading incomplete: its objects must not count as deleted while somebody fixes it.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from stat import S_ISREG

from postroad.manifests.files.paths import manifest_files
from postroad.manifests.files.pieces import FoundObjects, Pieces
from postroad.manifests.files.yaml_nodes import YamlMistake, count_lines, cut
from postroad.manifests.objects import (
    Declared,
    LoginSecret,
    Objects,
    Path,
    Problem,
    Reference,
    format_path,
)
from postroad.manifests.reader import Foreign, InvalidManifest, NamespaceObject, SecretObject
from postroad.policy.model import ObjectKey

MAX_FILE = 4 * 1024 * 1024  # bytes
_MOST_ARE_SMALLER = 64 * 1024  # bytes
NO_LINE = 0  # the line of a mistake that is about a whole file or folder


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """
    One mistake in a file; its text is `file:line: field: reason`.

    If the file could not be read there is no line, and the text is `file: reason`.
    """

    file: str
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        if self.line == NO_LINE:
            return f"{self.file}: {self.reason}"
        return f"{self.file}:{self.line}: {self.field}: {self.reason}"


@dataclass(frozen=True, slots=True)
class FilePosition:
    """The position of an object: its file, and the number of lines above its piece of the file."""

    file: str
    above: int
    found: FoundObjects

    def mistake(self, problem: Problem) -> Mistake:
        """Return a problem of the object as a mistake in the file."""
        path = self.found.root + problem.path
        field = format_path(path) or "document"
        return Mistake(self.file, self._line_of(path), field, problem.reason)

    def _line_of(self, path: Path) -> int:
        return self.above + self.found.lines.of(path)

    def __str__(self) -> str:
        return f"{self.file}:{self._line_of(self.found.root)}"


@dataclass
class Manifests:
    """The result of reading: the objects and their positions, mistakes, and skipped objects."""

    objects: Objects = field(default_factory=Objects)
    origins: dict[Reference, FilePosition] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)  # kinds of other groups

    def counts(self) -> Counter[str]:
        """Return how many objects of each kind were read, Secrets and namespaces too."""
        kinds = Counter(str(each.reference.kind) for each in self.objects.declared)
        kinds["Secret"] = len(self.objects.secrets)
        kinds["Namespace"] = len(self.objects.namespaces)
        return +kinds


class ManifestReader:
    """
    Reads manifests, and reads them again while they are edited, at the cost of the changes.

    `tell` is called after each object with the number of objects so far.
    """

    def __init__(self, tell: Callable[[int], None] | None = None) -> None:
        self._pieces = Pieces()
        self._tell = tell

    def read(self, paths: Iterable[FilePath]) -> Manifests:
        """Read files, and folders recursively (*.yaml, *.yml, *.json; hidden files are skipped)."""
        reading = _Reading(self._pieces, self._tell)
        for file in manifest_files(paths, reading.unread):
            reading.read_file(file)
        self._pieces.finish()
        return reading.finish()


class _Reading:
    """One reading: collects objects and mistakes from all files."""

    def __init__(self, pieces: Pieces, tell: Callable[[int], None] | None) -> None:
        self._pieces = pieces
        self._tell = tell
        self._result = Manifests()
        self._declared: list[Declared] = []
        self._secrets: dict[ObjectKey, LoginSecret] = {}
        self._namespaces: dict[str, Mapping[str, str]] = {}
        self._where: dict[object, FilePosition] = {}
        self._complete = True

    def finish(self) -> Manifests:
        """Return all that was read."""
        self._result.objects = Objects(
            tuple(self._declared), self._secrets, self._namespaces, self._complete
        )
        self._result.mistakes.sort()
        return self._result

    def unreadable(self, file: str, line: int, field: str, reason: str) -> None:
        """Note why a file, or the rest of one, cannot be read."""
        self._complete = False
        self._result.mistakes.append(Mistake(file, line, field, reason))

    def unread(self, path: str, what: str, reason: str) -> None:
        """Note that a file or folder is not read, so its objects are unknown."""
        self.unreadable(path, NO_LINE, what, reason)

    def read_file(self, file: str) -> None:
        """Read one file; a malformed document does not hide the others."""
        above = 0
        try:
            for text in cut(_text(file)):
                piece = self._pieces.read(text)
                for found in piece.found:
                    self._add(found, FilePosition(file, above, found))
                if piece.mistake is not None:
                    self._not_yaml(file, piece.mistake, above)
                above += count_lines(text)
        except OSError as error:
            self.unread(file, "file", f"cannot be read: {error.strerror or error}")
        except YamlMistake as mistake:
            self._not_yaml(file, mistake, above)

    def _not_yaml(self, file: str, mistake: YamlMistake, above: int) -> None:
        field = format_path(mistake.field) or "yaml"
        self.unreadable(file, above + mistake.line, field, mistake.reason)

    def _add(self, found: FoundObjects, origin: FilePosition) -> None:
        read = found.object
        if isinstance(read, InvalidManifest):
            # It may be an object that is in force, which cannot be known without its name.
            self._complete = False
            self._refuse(origin, read.problems)
        elif isinstance(read, Foreign):
            self._result.passed_over.append(read.what)
        elif isinstance(read, SecretObject):
            if self._is_first(("Secret", read.key), f"Secret {read.key}", origin):
                self._secrets[read.key] = read.secret
        elif isinstance(read, NamespaceObject):
            if self._is_first(("Namespace", read.name), f"Namespace {read.name}", origin):
                self._namespaces[read.name] = read.labels
        else:
            if self._is_first(read.reference, str(read.reference), origin):
                self._declared.append(replace(read, order=len(self._declared)))
                self._result.origins[read.reference] = origin
            self._refuse(origin, read.problems)
        if self._tell is not None:
            self._tell(len(self._where))

    def _is_first(self, identity: object, name: str, origin: FilePosition) -> bool:
        first = self._where.setdefault(identity, origin)
        if first is not origin:
            problem = Problem(
                ("metadata", "name"), f"{name} is declared at {first} already; keep one"
            )
            self._refuse(origin, (problem,))
        return first is origin

    def _refuse(self, origin: FilePosition, problems: Iterable[Problem]) -> None:
        self._result.mistakes += [origin.mistake(problem) for problem in problems]


def _text(file: str) -> str:
    if not S_ISREG(os.stat(file).st_mode):  # noqa: PTH116 - thousands of files, of texts
        raise YamlMistake(NO_LINE, "is neither a file nor a folder", ("file",))
    with open(file, "rb") as opened:  # noqa: PTH123
        content = opened.read(_MOST_ARE_SMALLER)  # allocating 4 MiB for each file takes time
        if len(content) == _MOST_ARE_SMALLER:
            content += opened.read(MAX_FILE + 1 - len(content))
    if len(content) > MAX_FILE:
        raise YamlMistake(
            NO_LINE, f"is larger than {MAX_FILE // 1024 // 1024} MiB; split it", ("file",)
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise YamlMistake(line, "is not UTF-8 text", ("file",)) from None
    # JSON allows tabs where YAML forbids them; within its strings JSON has none.
    return text.replace("\t", " ") if file.endswith(".json") else text
