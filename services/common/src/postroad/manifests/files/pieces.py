"""
Caches the objects in pieces of files, by the text of each piece.

An edit changes a few of perhaps thousands of objects. The objects in a piece depend only on its
text, so a piece is parsed again only when its text changes. Its position in the file may change.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postroad.manifests.files.yaml_nodes import Document, Lines, YamlMistake, read_documents
from postroad.manifests.objects import Path, Problem
from postroad.manifests.reader import InvalidManifest, Read, read_object


@dataclass(frozen=True, slots=True)
class FoundObjects:
    """An object that was read, the path to it in its document, and the document's lines."""

    object: Read
    lines: Lines  # counted from the beginning of the piece
    root: Path = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """The objects in a piece, up to the first mistake in its YAML."""

    found: tuple[FoundObjects, ...]
    mistake: YamlMistake | None = None


@dataclass
class Pieces:
    """Reads pieces, and caches those of the last reading."""

    _kept: dict[str, Piece] = field(default_factory=dict)
    _seen: dict[str, Piece] = field(default_factory=dict)

    def read(self, text: str) -> Piece:
        """Return the contents of a piece."""
        piece = self._seen.get(text) or self._kept.get(text) or _read(text)
        self._seen[text] = piece
        return piece

    def finish(self) -> None:
        """End a reading, and forget all pieces that it did not have."""
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
