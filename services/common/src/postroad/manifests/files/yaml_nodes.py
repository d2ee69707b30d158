"""
Parses YAML into plain values with line numbers. JSON is YAML, too.

Mistakes in manifests are reported by line. So ruamel.yaml only composes documents into nodes, and
this module makes the values from the nodes. So no tag constructs an object, a duplicate key is an
error, and values that aliases repeat count against the limit.

Composing takes most of the time for a large file. So `cut` splits a text into pieces that can be
read separately, and read again only when they change.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from postroad.manifests.objects import Path

MAX_NODES = 100_000  # per document; an alias counts as much as what it repeats
MAX_DEPTH = 64

# A line that begins a document in any context (YAML 1.2.2 §9.1.2): no scalar may contain it.
_BEGINNING = re.compile(r"^---(?=[ \t\r\n\x85\u2028\u2029]|\Z)", re.MULTILINE)
_LINE_END = re.compile(r"\r\n|[\r\n\x85\u2028\u2029]")
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_INT = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+")
# Messages about the marks *, & and !, which quote the text after the mark.
_OF_MARKS = ("found undefined alias", "found duplicate anchor", "found undefined tag handle")
# What other messages quote: one character, or the name of a token, as in '<block end>'.
_NO_TEXT = re.compile(r"'(?:.|\\.|<[^']*>)'")
_PREFIX = "tag:yaml.org,2002:"


class YamlMistake(Exception):
    """A text is not YAML, or uses YAML that manifests may not; `line` counts from 1."""

    def __init__(self, line: int, reason: str, field: Path = ()) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason
        self.field = field


@dataclass(frozen=True, slots=True)
class Lines:
    """The line a document begins at, and those of its fields and list entries, from 1."""

    first: int
    fields: dict[Path, int]

    def of(self, path: Path) -> int:
        """Return the line of a field, or of the innermost field around it that exists."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.fields:
                return self.fields[path[:length]]
        return self.first


@dataclass(frozen=True, slots=True)
class Document:
    """A document's value, and the lines of its parts in the text."""

    value: object
    lines: Lines


def cut(text: str) -> Iterator[str]:
    """
    Split a text into pieces that can be read separately; joined they are the text.

    A piece is usually one document; a document that ends in `...` shares its piece with the next
    one. A text with a line that may be a directive stays whole, because a directive belongs to the
    document after it.
    """
    if _DIRECTIVE.search(text):
        yield text
        return
    begin = 0
    for found in _BEGINNING.finditer(text):
        if found.start() > begin:
            yield text[begin : found.start()]
        begin = found.start()
    yield text[begin:]


def count_lines(text: str) -> int:
    """Return the number of line ends in a text, counted in the same way as in a Document."""
    return len(_LINE_END.findall(text))


def read_documents(text: str) -> Iterator[Document]:
    """Yield each document that is not empty; raise YamlMistake at the first mistake."""
    try:
        yaml = YAML(typ="safe", pure=True, plug_ins=[])
        yaml.composer.warn_double_anchors = False  # its warning would print the text
        for node in yaml.compose_all(text):
            if node is not None and not _is_null(node):
                yield _Builder(node).build()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = _without_text(error.problem or error.context or "cannot be read")
        raise YamlMistake(mark.line + 1 if mark else 1, reason) from error
    except YAMLError as error:
        first = str(error).partition("\n")[0].strip()
        raise YamlMistake(_line_of_reader_error(text, error), first) from error
    except RecursionError:
        raise YamlMistake(1, f"is nested deeper than {MAX_DEPTH} levels") from None


def _without_text(problem: str) -> str:
    """
    Return a message without the text that it quotes, which may be a password.

    An unquoted password that begins with `*` or `&` is an alias or an anchor in YAML.
    """
    said = " ".join(problem.split())
    for known in _OF_MARKS:
        if said.startswith(known):
            return f"{known}; quote a value that begins with *, & or !"
    masked = _NO_TEXT.sub(lambda found: " " * len(found[0]), said)
    quote = re.search(r"['\"]", masked)
    return said if quote is None else said[: quote.start()].rstrip()


def _line_of_reader_error(text: str, error: YAMLError) -> int:
    # A character that YAML forbids: the error carries its position, not its line.
    position = getattr(error, "position", None)
    return text.count("\n", 0, position) + 1 if isinstance(position, int) else 1


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and _tag(node) == "null"


def _tag(node: Node) -> str:
    return str(node.tag).removeprefix(_PREFIX)


class _Builder:
    """Makes the values of one document, within the limits."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._left = MAX_NODES
        self._lines: dict[Path, int] = {}

    def build(self) -> Document:
        line = self._root.start_mark.line + 1
        return Document(self._value(self._root, ()), Lines(line, self._lines))

    def _value(self, node: Node, path: Path) -> object:
        self._left -= 1
        line = node.start_mark.line + 1
        if self._left < 0:
            raise YamlMistake(line, f"has more than {MAX_NODES} values, aliases counted", path)
        if len(path) > MAX_DEPTH:
            raise YamlMistake(line, f"is nested deeper than {MAX_DEPTH} levels")
        tag = _tag(node)
        if isinstance(node, MappingNode) and tag == "map":
            return self._mapping(node, path)
        if isinstance(node, SequenceNode) and tag == "seq":
            return self._sequence(node, path)
        if isinstance(node, ScalarNode) and tag in ("str", "int", "float", "bool", "null"):
            return _scalar(tag, node.value)
        if isinstance(node, ScalarNode) and tag == "timestamp":
            return node.value
        # The tag is not quoted: an unquoted password that begins with ! is a tag in YAML.
        raise YamlMistake(line, "has a tag; quote a value that begins with !", path)

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, object]:
        value: dict[str, object] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, ScalarNode) or _tag(key_node) == "merge":
                raise YamlMistake(
                    line, "has a key that is not a plain name; write the fields out", path
                )
            key = key_node.value
            if key in value:
                raise YamlMistake(line, "is given twice; keep one of them", (*path, key))
            self._lines[(*path, key)] = line
            value[key] = self._value(value_node, (*path, key))
        return value

    def _sequence(self, node: SequenceNode, path: Path) -> list[object]:
        value = []
        for index, entry in enumerate(node.value):
            self._lines[(*path, index)] = entry.start_mark.line + 1
            value.append(self._value(entry, (*path, index)))
        return value


def _scalar(tag: str, text: str) -> object:
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("true", "yes", "on")
    try:
        if tag == "int" and _INT.fullmatch(text) and len(text) <= 24:
            # int() takes no 0x or 0o by itself, and base 0 no leading zeros.
            return int(text, 0 if text[1:2] in ("x", "o") else 10)
        if tag == "float":
            return float(text)
    except ValueError:
        pass
    return text
