"""
The objects in a piece of a file, kept by the piece's text.

An edit changes a few objects of perhaps thousands. What stands in a piece depends on its text
alone, so a piece with the text of the reading before is not read again; only where it stands in its
file may be another place now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postroad.manifests.files.yaml_nodes import Document, Lines, YamlMistake, read_documents
from postroad.manifests.objects import Path, Problem
from postroad.manifests.reader import InvalidManifest, Read, read_object


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """An object as it was read: the path to it in its document, and where that stands."""

    object: Read
    lines: Lines  # counted from the beginning of the piece
    root: Path = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What was read of a piece, up to what is not YAML in it."""

    found: tuple[FoundObjects, ...]
    mistake: YamlMistake | None = None


@dataclass
class Pieces:
    """Reads pieces, those of the reading before from memory."""

    _kept: dict[str, Piece] = field(default_factory=dict)
    _seen: dict[str, Piece] = field(default_factory=dict)

    def read(self, text: str) -> Piece:
        """Return what stands in a piece."""
        piece = self._seen.get(text) or self._kept.get(text) or _read(text)
        self._seen[text] = piece
        return piece

    def finish(self) -> None:
        """Forget all pieces that this reading did not come across."""
        self._kept, self._seen = self._seen, {}


def _read(text: str) -> Piece:
    found: list[FoundObjects] = []
    try:
        for document in read_documents(text):
            found += _objects(document)
    except YamlMistake as mistake:
        return Piece(tuple(found), mistake)
    return Piece(tuple(found))


def _objects(document: Document) -> Iterator[FoundObjects]:
    value, lines = document.value, document.lines
    if not isinstance(value, Mapping) or str(value.get("kind", "")) != "List":
        yield FoundObjects(read_object(value), lines)
        return
    items = value.get("items", [])
    if not isinstance(items, Sequence) or isinstance(items, str):
        yield FoundObjects(
            InvalidManifest((Problem(("items",), "must be a list of objects"),)), lines
        )
        return
    for index, item in enumerate(items):
        yield FoundObjects(read_object(item), lines, ("items", index))
