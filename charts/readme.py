"""
The chart's README, written from the comments in its values.yaml: `make docs` runs it.

A value's text stands above it in values.yaml and nowhere else, so it cannot be old. Each value that
holds no others becomes a line of a table; each top-level group becomes a section. A value without a
comment is an error.
"""

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

CHART = Path(__file__).parent / "postroad"

_INTRO = """\
# Chart postroad

One release of this chart is a complete mail relay: ingress, delivery, the operator and the queue.

```sh
helm install mail charts/postroad --namespace mail --create-namespace \\
    --set hostname=relay.example.com
helm test mail --namespace mail
```

[docs/kubernetes.md](../../docs/kubernetes.md) says how to run it. Helm refuses a value that is not
in this list, and names it. `make docs` writes this page from `values.yaml`.
"""
_LINE = re.compile(r"^(?P<indent> *)(?P<name>[A-Za-z_]+):(?: (?P<value>.+))?$")
_ITEM = re.compile(r"^ *- ")


@dataclass
class Value:
    """One key of values.yaml: its path, the text above it, and what stands behind it."""

    path: tuple[str, ...]
    text: str
    default: str
    is_group: bool = False


def values(text: str) -> Iterator[Value]:
    """Yield every key in order."""
    comment: list[str] = []
    parents: list[str] = []
    found: list[Value] = []
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped:
            comment = []
        elif stripped.startswith("#"):
            comment.append(stripped.removeprefix("#").strip())
        elif _ITEM.match(line):
            found[-1].is_group = False
            found[-1].default = f"{found[-1].default} {stripped}".strip()
        else:
            match = _LINE.match(line)
            if match is None:
                raise ValueError(f"values.yaml:{number}: not a key: {line}")
            depth = len(match["indent"]) // 2
            parents[depth:] = [match["name"]]
            found.append(
                Value(tuple(parents), " ".join(comment), match["value"] or "", not match["value"])
            )
            comment = []
    yield from found


def page(text: str) -> str:
    """Return the README for this values.yaml."""
    lines = [_INTRO, *_HEAD]
    for each in _told(text):
        path = ".".join(each.path)
        if not each.is_group:
            lines.append(f"| `{path}` | {_shown(each.default)} | {each.text} |")
        elif len(each.path) == 1:
            lines += ["", f"## {path}", "", each.text, "", *_HEAD]
        else:
            lines.append(f"| **`{path}`** | | {each.text} |")
    return "\n".join(lines) + "\n"


_HEAD = ("| value | default | meaning |", "| --- | --- | --- |")


def _told(text: str) -> list[Value]:
    """Return what the page tells: resources are one value, whatever stands in them."""
    told: list[Value] = []
    for each in values(text):
        at = each.path.index("resources") if "resources" in each.path[:-1] else None
        if at is not None:
            whole = next(value for value in told if value.path == each.path[: at + 1])
            whole.is_group = False
            if not each.is_group:
                said = f"{'.'.join(each.path[at + 1 :])}: {each.default}"
                whole.default = ", ".join(filter(None, (whole.default, said)))
            continue
        if not each.text:
            raise ValueError(f"values.yaml: {'.'.join(each.path)} has no comment")
        told.append(each)
    return told


def _shown(default: str) -> str:
    return "" if default in ('""', "[]", "{}") else f"`{default}`"


def main() -> None:
    """Write the page to the path that is the only argument, or beside values.yaml."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else CHART / "README.md"
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    target.write_text(page(text), encoding="utf-8")


if __name__ == "__main__":
    main()
