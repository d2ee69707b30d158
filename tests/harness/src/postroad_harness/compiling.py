"""Compiles manifests that a test gives as texts."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from postroad.manifests.compiler.claims import OF_FILES, Claims
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.files.yaml_nodes import read_documents
from postroad.manifests.objects import Declared, Kind, Objects, Reference
from postroad.manifests.reader import NamespaceObject, SecretObject, read_object
from postroad.policy.model import Entry, ObjectKey
from postroad.testing.keys import keyrings

KEYRINGS = keyrings()


def objects_of(*texts: str, complete: bool = True) -> Objects:
    """Return the objects that the texts declare; apiVersion is filled in."""
    documents = []
    for text in texts:
        (document,) = read_documents(text)
        assert isinstance(document.value, dict)
        documents.append(document.value)
    return objects_from(documents, complete=complete)


def objects_from(documents: Iterable[Mapping[str, object]], *, complete: bool = True) -> Objects:
    """Return the objects that manifests declare, once they are parsed."""
    declared: list[Declared] = []
    secrets = {}
    namespaces = {}
    for document in documents:
        core = document["kind"] in ("Secret", "Namespace")
        found = read_object({**document, "apiVersion": "v1" if core else "postroad.dev/v1alpha1"})
        if isinstance(found, SecretObject):
            secrets[found.key] = found.secret
        elif isinstance(found, NamespaceObject):
            namespaces[found.name] = found.labels
        else:
            assert isinstance(found, Declared), found
            declared.append(replace(found, order=len(declared)))
    return Objects(tuple(declared), secrets, namespaces, complete)


def compiled(
    *texts: str,
    last_good: Compiled | None = None,
    complete: bool = True,
    claims: Claims = OF_FILES,
) -> Compiled:
    """Compile the texts; `complete`: nothing else is declared."""
    entries: dict[str, Entry] = dict(last_good.entries) if last_good else {}
    objects = objects_of(*texts, complete=complete)
    return compile_objects(objects, keyrings=KEYRINGS, last_good=entries, claims=claims)


def reasons(outcome: Compiled, kind: Kind, name: str, namespace: str = "default") -> list[str]:
    """Return the reasons of all conditions that are False, the summary first."""
    conditions = outcome.conditions[Reference(kind, ObjectKey(namespace, name))]
    return [condition.reason.value for condition in conditions if not condition.status]
