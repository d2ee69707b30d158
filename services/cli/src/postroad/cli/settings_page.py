"""
Writes docs/settings.md from the declarations of the settings, for `make docs`.

A setting's description is the docstring below its field and is written nowhere else.
"""

import ast
import inspect
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any, get_type_hints

from postroad.delivery.settings import DeliverySettings
from postroad.ingress.settings import IngressSettings
from postroad.operator.settings import OperatorSettings
from postroad.process.entry import RuntimeSettings
from postroad.process.settings import PREFIX, group_prefix, is_group, plain_type, shown, variable

_INTRO = """\
# Settings

Every process reads its settings from environment variables. `make docs` writes this page from their
declarations.

- **Durations** are written as `90s`, `15m` or `4h`; **sizes** in octets, or as `50MB` (powers of
  1000) or `128KiB` (powers of 1024); **addresses** as `ADDR:PORT`, `[ADDR]:PORT` for IPv6, or
  `fd:N` for an inherited socket.
- **A secret** comes from its variable, or from the file that the variable with `_FILE` at its end
  names.
- **An empty variable** counts as not set.
- **Mistakes** are reported all at once, with exit code 2. An unknown variable `POSTROAD_…` causes a
  warning: always from `postroad up`, and from a single process if the name is similar to a setting.

`postroad up` sets the addresses, NATS, the key and the certificate's folder of its processes
itself. It passes everything else on from its own environment. `postroad status`, `queue` and
`events` connect with `POSTROAD_NATS_URL` and the other settings of NATS, as ingress does.
"""
_PROCESSES = (
    (
        "Every process",
        RuntimeSettings,
        "Ingress, delivery and the operator, and `postroad up` itself.",
    ),
    ("Ingress", IngressSettings, "`postroad-ingress`, which accepts mail."),
    ("Delivery", DeliverySettings, "`postroad-delivery`, which sends mail on."),
    ("Operator", OperatorSettings, "`postroad-operator`, which follows the objects on Kubernetes."),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One variable."""

    name: str
    default: str
    text: str


def main() -> None:
    """Write the page to the path that is the only argument."""
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")


def page() -> str:
    """Return the page."""
    return "\n".join([_INTRO, *("\n".join(_section(*each)) for each in _PROCESSES)])


def _section(title: str, settings: type[Any], text: str) -> Iterator[str]:
    yield f"## {title}\n\n{text}\n\n| variable | default | meaning |\n| --- | --- | --- |"
    for row in _rows(settings, PREFIX):
        yield f"| `{row.name}` | {row.default} | {row.text} |"
    yield ""


def _rows(settings: type[Any], prefix: str) -> Iterator[Row]:
    hints, texts = get_type_hints(settings), _texts(settings)
    for each in fields(settings):
        hint = hints[each.name]
        if is_group(hint):
            yield from _rows(hint, group_prefix(each, prefix))
            continue
        text = texts.get(each.name, "")
        assert text, f"{settings.__name__}.{each.name} has no text"
        known = each.default is not MISSING and each.default not in (None, "", ())
        default = f"`{shown(each.default)}`" if known else ""
        kind = plain_type(hint)
        if isinstance(kind, type) and issubclass(kind, Enum):
            text += f" One of {', '.join(f'`{member.value}`' for member in kind)}."
        yield Row(variable(each, prefix), default, text)


def _texts(settings: type[Any]) -> dict[str, str]:
    """Return the docstrings below a dataclass's fields, from its source: Python drops them."""
    assert is_dataclass(settings)
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for one, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(one, ast.AnnAssign) and isinstance(following, ast.Expr):
            assert isinstance(one.target, ast.Name)
            texts[one.target.id] = " ".join(str(ast.literal_eval(following.value)).split())
    return texts


if __name__ == "__main__":
    main()
