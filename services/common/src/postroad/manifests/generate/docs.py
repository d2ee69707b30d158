"""
Writes docs/resources.md from the models: `python -Im postroad.manifests.generate.docs`.

Names, types, bounds, defaults and texts come from the same schema as the CRDs. A test compares the
committed page with the output, so the page is never out of date.
"""

import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from postroad.manifests.files.paths import MAX_ENTRIES, MAX_FILES
from postroad.manifests.files.reader import MAX_FILE
from postroad.manifests.generate.crd_status import COLUMNS, CONDITIONS, NAMES, OWN_FIELDS, SHARED
from postroad.manifests.mistakes import PLANNED_FIELDS, PLANNED_VALUES
from postroad.manifests.objects import GROUP, VERSION, Kind
from postroad.manifests.reader import SPECS
from postroad.manifests.schema import Schema, object_schema


def _listed(conditions: Mapping[str, str]) -> str:
    return "; ".join(f"`{name}` ({meaning})" for name, meaning in conditions.items())


_ON_KUBERNETES = textwrap.fill(
    "- **On Kubernetes** the API server refuses an object that breaks the schema, and says"
    " what to do. The operator reports all other mistakes in the object's status. Every status"
    " has `observedGeneration` and `conditions`, each with `type`, `status` (`True`, `False`,"
    " `Unknown`), `reason`, `message`, `lastTransitionTime` and `observedGeneration`, for"
    f" `kubectl wait --for=condition=Ready`. Shared by all kinds are {_listed(SHARED)}.",
    width=100,
    subsequent_indent="  ",
    break_on_hyphens=False,
)
_HEAD = f"""\
# Resources

Objects of the group `{GROUP}`, version `{VERSION}`, declare what Postroad does. They are files for
`postroad up --config` and `postroad check`, and have the same content on Kubernetes. `make docs`
writes this page from the models. [examples](examples) has complete examples with comments.

- **Files** are YAML with any number of documents, or JSON; `kind: List` is split into its items.
  Folders are read recursively (`*.yaml`, `*.yml`, `*.json`; names that begin with a dot are
  skipped). Symbolic links are followed, and `up` applies edits of their targets, as in a ConfigMap
  volume. At most {MAX_FILES:,} files of at most {MAX_FILE >> 20} MiB each are read. A given path
  may contain at most {MAX_ENTRIES:,} files and folders of any name, those behind links included.
  Objects without a namespace are in `default`. Objects of other groups are skipped (`check` counts
  them), except `Secret` (`data`, `stringData`) and `Namespace` (its labels).
- **Unknown fields are refused**, and so are planned fields that would do nothing yet: the section
  of each kind lists them. A field that is `null` counts as absent.
- **Mistakes** are reported as `file:line: field: reason`, and as `file: reason` if a file or folder
  cannot be read. An object that is wrong, or whose Secret or Relay is missing, keeps its last valid
  form in force (`Ready=False`, reason `Stale`); all other objects apply. An object that loses a
  conflict, or that a Relay does not admit, is removed. If another object has taken the name of the
  last valid form, this form is removed too; a Domain that receives then receives for its new name.
  While a file cannot be read at all, nothing is removed.
- **An object may have 2,031,616 octets** at most, or 65,536 less than `max_payload` if NATS servers
  of your own have a smaller one. The queue stores it as JSON, in which a non-ASCII character takes
  6 octets, and one beyond U+FFFF takes 12. 10,000 addresses of 190 characters fit. A larger object
  is a mistake (reason `TooLarge`). Use `*@example.com` or `mode: Any` in such a Domain, and let the
  mail server decide which recipients exist. A Domain that admits tens of thousands of namespaces
  can admit `All`. Kubernetes itself stores at most 1.5 MiB.
- **Secrets** are looked up in the object's own namespace. For a login they have the keys `username`
  and `password`. On Kubernetes the owner of a Secret permits its use with the label
  `postroad.dev/secret-type: login`, and lists the hosts to which a Relay may send it in the
  annotation `postroad.dev/hosts` ([security.md](security.md#secrets)).
- **Consent is two-sided**: a Relay says in `allowedNamespaces` who may use it, and a Domain or
  Client names it. If two Domains of a namespace have the same name, or two Clients the same
  username, the older object wins (in files: the first one). On Kubernetes a Client keeps a username
  that it has; [security.md](security.md#usernames) has the rules for several namespaces.
- **Claims are proven** on Kubernetes: a Domain gets the mail of other namespaces only if a
  DomainGrant or the DNS proves its name. [security.md](security.md) has the rules. Every claim in
  files counts.
- **Mail to a recipient leaves** by the first of these that exists: the route of the recipient's
  Domain, if that receives and its claim counts for the sender's namespace; the Relay that the
  Client names; the Relay that the sender's Domain names; the Relay of the Client's namespace with
  the most specific match in `destinations`.
- **Quotas** may count any namespace: let only those who run the relay write them. `namespace`,
  `client`, `senderDomain` and `sender` count what Clients send; `clientNetwork` counts everybody's
  mail.
{_ON_KUBERNETES}

| written | is |
| --- | --- |
| duration | `30s`, `15m`, `1h30m`, `5d` |
| size | bytes: `1048576`, `500M` (powers of 1000), `10Gi` (powers of 1024) |
| rate | `1000/1m`: this many in each window |
| domain pattern | `example.com`, `*.example.com` (its subdomains), `*` |
| address pattern | `info@example.com`, `*@example.com`, `*@*.example.com`, `*` |
| network | `10.20.0.0/16`, `192.0.2.7`, `2001:db8::/32` |
"""


def page() -> str:
    """Return the text of docs/resources.md."""
    return "\n".join([_HEAD, *(line for kind in SPECS for line in _section(kind))])


def _section(kind: Kind) -> Iterator[str]:
    schema = object_schema(SPECS[kind])
    yield f"## {kind}\n"
    yield f"{_one_line(schema['description'])}\n"
    yield "| field | type | default | what it says |"
    yield "| --- | --- | --- | --- |"
    yield from _rows("spec", schema)
    planned = [f"`{field}` ({advice})" for field, advice in PLANNED_FIELDS[kind].items()]
    planned += [
        f"`{field}: {value}` ({advice})" for (field, value), advice in PLANNED_VALUES[kind].items()
    ]
    yield ""
    if planned:
        yield f"Not supported yet, and refused: {'; '.join(planned)}.\n"
    yield from _status(kind)


def _status(kind: Kind) -> Iterator[str]:
    names, columns = NAMES[kind], COLUMNS[kind]
    shown = ", ".join(column.name for column in columns if not column.wide)
    wide = ", ".join(column.name for column in columns if column.wide)
    own = _listed({name: CONDITIONS[kind][name] for name in CONDITIONS[kind] if name not in SHARED})
    besides = f" Conditions besides the shared ones: {own}." if own else ""
    yield (
        f"`kubectl get {names.plural}` (or `{names.short}`) shows {shown}; `-o wide` also"
        f" {wide}.{besides}\n"
    )
    if OWN_FIELDS[kind]:
        yield "| field | type | what it says |"
        yield "| --- | --- | --- |"
        for row in _rows("status", {"properties": OWN_FIELDS[kind]}):
            field, type_, _, description = row.split(" | ", 3)
            yield f"{field} | {type_} | {description}"
        yield ""


def _rows(path: str, schema: Schema) -> Iterator[str]:
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        default = "required" if name in required else _default(field)
        description = _one_line(field.get("description", ""))
        yield f"| `{where}` | {_type(field)} | {default} | {description} |"
        if field.get("type") == "array":
            yield from _rows(f"{where}[]", field["items"])
        else:
            yield from _rows(where, field)


def _default(field: Schema) -> str:
    default: Any = field.get("default")
    if default in (None, [], {}, "") or isinstance(default, Mapping):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{each}`" for each in default)
    return f"`{default}`"


def _type(field: Schema) -> str:
    if "enum" in field or "const" in field:
        return " · ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    written = field.get("x-postroad-written")
    kind = field.get("type")
    if kind == "array":
        return f"list of {_type(field['items'])}"
    if kind == "object":
        return "mapping"
    names = {"integer": "whole number", "number": "number", "boolean": "true or false"}
    bounds = field.get("x-postroad-bounds") or _bounds(field)
    return f"{written or names.get(str(kind), 'text')}{f', {bounds}' if bounds else ''}"


def _bounds(field: Schema) -> str:
    low, high = field.get("minimum"), field.get("maximum")
    return f"from {low} to {high}" if low is not None and high is not None else ""


def _one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main(arguments: Sequence[str]) -> None:
    """Write the page to the named file, else to standard output."""
    if arguments:
        Path(arguments[0]).write_text(page(), encoding="utf-8")
    else:
        sys.stdout.write(page())


if __name__ == "__main__":
    main(sys.argv[1:])
