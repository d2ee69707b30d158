"""
Writes docs/metrics.md from the declarations: `python -Im postroad.telemetry.metrics_page`.

It imports every module named `metrics` or `…_metrics` in each package under `postroad`. A test
compares the committed page with the output, so the page is never out of date.
"""

import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import postroad
from postroad.telemetry import metrics

_HEAD = """\
# Metrics

Every process serves its metrics at `/metrics` on the address in `POSTROAD_HTTP`. Each also serves
the usual `process_*` series of its memory, descriptors and processor time. `postroad up` serves one
page for itself and all its children; there each series has a label `process`. *Watch* says which
value needs attention, and what it means.

`make docs` writes this page from the declarations.
"""


def declaring_modules() -> list[str]:
    """Return the names of all installed modules that declare metrics."""
    packages = sorted(found.name for found in iter_modules(postroad.__path__) if found.ispkg)
    return [
        f"postroad.{package}.{found.name}"
        for package in packages
        for found in iter_modules(import_module(f"postroad.{package}").__path__)
        if found.name.split("_")[-1] == "metrics"
    ]


def page() -> str:
    """Return the text of docs/metrics.md."""
    for name in declaring_modules():
        import_module(name)
    ordered = sorted(metrics.groups, key=lambda each: (each is not metrics.groups[0], each.title))
    return "\n".join([_HEAD, *(line for each in ordered for line in _section(each))])


def _section(group: metrics.GroupText) -> Iterator[str]:
    yield f"## {group.title}\n"
    yield f"{group.text}\n"
    for each in metrics.declared:
        if each.group == group.title:
            yield from _metric(each)


def _metric(each: metrics.Declaration) -> Iterator[str]:
    yield f"### `{each.name}`\n"
    yield f"{each.kind.capitalize()}. {each.help}\n"
    if each.labels:
        yield from (f"- `{label}`: {_values(values)}" for label, values in each.labels.items())
        yield ""
    if each.watch:
        yield f"Watch: {each.watch}\n"


def _values(values: Sequence[str] | str) -> str:
    if isinstance(values, str):
        return values
    return ", ".join(f"`{value}`" for value in values)


if __name__ == "__main__":
    Path(*sys.argv[1:2] or ["docs/metrics.md"]).write_text(page(), encoding="utf-8")
