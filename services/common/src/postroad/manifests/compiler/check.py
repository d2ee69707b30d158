"""
Checks files of manifests for `postroad check` and `postroad up`; every mistake has its position.

Reading finds mistakes within an object. Compiling finds mistakes between objects (a missing Relay,
a conflict), which are reported at the field of the object.
"""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from postroad.manifests.compiler.claims import Claims, Grants
from postroad.manifests.compiler.compile import compile_objects
from postroad.manifests.compiler.entries import UNVERIFIED_LOGIN, logs_in_unverified
from postroad.manifests.compiler.findings import NO_CONSENT, Finding, read_credentials
from postroad.manifests.compiler.result import Compiled, ConditionType, Reason
from postroad.manifests.files.reader import ManifestReader, Manifests, Mistake
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.objects import Kind, Problem
from postroad.policy.model import Client, Credentials, Domain, Entry, ObjectKey, Relay
from postroad.policy.patterns import specificity
from postroad.policy.secrets.seal import KEY_BYTES, ClusterKey, Keyring, Keyrings, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.spool.wire.payload import LARGEST_VALUE

# NIST SP 800-63B requires 15 characters of a password that a person chose and is the only factor.
_SHORT_PASSWORD = 12


class Checked(NamedTuple):
    """The result of a check; even with mistakes, `compiled` has every valid object."""

    mistakes: tuple[Mistake, ...]
    compiled: Compiled


class Examined(NamedTuple):
    """The result of a check, with warnings, the number of objects by kind, and skipped objects."""

    checked: Checked
    warnings: tuple[Mistake, ...]
    counts: Mapping[str, int]
    passed_over: tuple[str, ...]


def check(
    paths: Iterable[Path],
    *,
    keyrings: Keyrings | None = None,
    last_good: Mapping[str, Entry] | None = None,
    reader: ManifestReader | None = None,
    verifiers: Verifiers | None = None,
    largest_entry: int = LARGEST_VALUE,
) -> Checked:
    """
    Read and compile manifests in files and folders.

    To publish the result, pass the cluster's keyrings and, as `last_good`, what is published now.
    Without keyrings, passwords are hashed only once, with random salts: the verifiers are useless.
    `largest_entry` is the largest entry that the cluster's queue stores, in octets. A reader and
    verifiers that are passed to each check again process only what changed.
    """
    manifests = (reader or ManifestReader()).read(paths)
    return _compiled(manifests, keyrings, last_good, verifiers, largest_entry)


def examine(paths: Iterable[Path], *, reader: ManifestReader | None = None) -> Examined:
    """Do the same as `check`, and return warnings about valid objects as well."""
    manifests = (reader or ManifestReader()).read(paths)
    checked = _compiled(manifests)
    return Examined(
        checked,
        tuple(sorted(_warnings_of(checked.compiled, manifests))),
        manifests.counts(),
        tuple(manifests.passed_over),
    )


def _compiled(
    manifests: Manifests,
    keyrings: Keyrings | None = None,
    last_good: Mapping[str, Entry] | None = None,
    verifiers: Verifiers | None = None,
    largest_entry: int = LARGEST_VALUE,
) -> Checked:
    if keyrings is None:
        keyring = Keyring([ClusterKey(secrets.token_bytes(KEY_BYTES))])
        keyrings = dict.fromkeys(Reader, keyring)
        verifiers = Verifiers(keyring, iterations=1)
    compiled = compile_objects(
        manifests.objects,
        keyrings=keyrings,
        last_good=last_good,
        verifiers=verifiers,
        largest_entry=largest_entry,
    )
    found = sorted({*manifests.mistakes, *_mistakes_of(compiled, manifests)})
    return Checked(tuple(found), compiled)


def _mistakes_of(compiled: Compiled, manifests: Manifests) -> Iterable[Mistake]:
    for reference, conditions in compiled.conditions.items():
        origin = manifests.origins[reference]
        for condition in conditions:
            told = condition.type is ConditionType.READY or condition.reason is Reason.INVALID
            if not condition.status and not told:
                yield origin.mistake(Problem(condition.path, condition.message))


def _warnings_of(compiled: Compiled, manifests: Manifests) -> Iterable[Mistake]:
    yield from _unverified_logins(compiled, manifests)
    yield from _stranded(compiled, manifests)
    yield from _short_passwords(manifests)
    yield from _unproven(compiled, manifests)
    yield from _not_opted_in(manifests)


def _unverified_logins(compiled: Compiled, manifests: Manifests) -> Iterable[Mistake]:
    for reference, origin in manifests.origins.items():
        relay = compiled.entries.get(reference.entry_key)
        if isinstance(relay, Relay) and logs_in_unverified(relay):
            where = ("spec", "tls", "allowUnverifiedLogin")
            yield origin.mistake(Problem(where, UNVERIFIED_LOGIN))


def _stranded(compiled: Compiled, manifests: Manifests) -> Iterable[Mistake]:
    relays = {each.key.namespace for each in compiled.entries.values() if isinstance(each, Relay)}
    senders = {
        each.domain: each.relay is not None
        for each in compiled.entries.values()
        if isinstance(each, Domain)
    }
    for reference, origin in manifests.origins.items():
        client = compiled.entries.get(reference.entry_key)
        if not isinstance(client, Client) or client.relay or client.key.namespace in relays:
            continue
        if not any(_may_be_of(client, domain) and named for domain, named in senders.items()):
            reason = (
                f"no Relay can carry mail of Client {client.key}; declare one in namespace"
                f" {client.key.namespace}, or name one in spec.relayRef"
            )
            yield origin.mistake(Problem(("spec",), reason))


def _unproven(compiled: Compiled, manifests: Manifests) -> Iterable[Mistake]:
    """Yield Domains without a grant; files with grants are meant for Kubernetes, too."""
    grants = [each for each in manifests.origins if each.kind is Kind.DOMAIN_GRANT]
    if not grants:
        return
    claims = Claims(trusted=frozenset(each.key.namespace for each in grants))
    entries = compiled.entries.items()
    domains = {key: each for key, each in entries if isinstance(each, Domain)}
    decided = Grants(manifests.objects, claims).decide(domains, {}, domains)
    for reference, origin in manifests.origins.items():
        domain, evidence = decided.get(reference.entry_key, (None, None))
        if domain is not None and evidence is None:
            reason = (
                f"no DomainGrant gives {domain.domain} to namespace {domain.key.namespace}; on"
                " Kubernetes it takes the mail of other namespaces only if the DNS proves the name"
            )
            yield origin.mistake(Problem(("spec", "domain"), reason))


def _not_opted_in(manifests: Manifests) -> Iterable[Mistake]:
    """Yield Secrets without consent; files with some that have it are meant for Kubernetes, too."""
    objects = replace(manifests.objects, opt_in=True)
    if not any(secret.opted_in for secret in objects.secrets.values()):
        return
    for declared in objects.declared:
        spec, name = declared.spec, None
        hosts: tuple[str, ...] = ()
        if isinstance(spec, RelaySpec):
            name, hosts = spec.login, tuple(hop.host for hop in spec.smarthosts)
        elif isinstance(spec, ClientSpec) and spec.auth is not None:
            name = spec.auth.secret_ref.name
        if name is None:
            continue
        key = ObjectKey(declared.reference.key.namespace, name)
        found = read_credentials(objects, key, ("spec",), hosts=hosts)
        if isinstance(found, Finding) and found.reason in NO_CONSENT:
            reason = f"on Kubernetes, {found.message}"
            yield manifests.origins[declared.reference].mistake(Problem(found.path, reason))


def _short_passwords(manifests: Manifests) -> Iterable[Mistake]:
    objects = manifests.objects
    for declared in objects.declared:
        spec, reference = declared.spec, declared.reference
        if not isinstance(spec, ClientSpec) or spec.auth is None:
            continue
        secret = ObjectKey(reference.key.namespace, spec.auth.secret_ref.name)
        login = read_credentials(objects, secret, ())
        if isinstance(login, Credentials) and len(login.password) < _SHORT_PASSWORD:
            reason = (
                f"the password in Secret {secret} has fewer than {_SHORT_PASSWORD} characters;"
                " programs can have long ones (openssl rand -base64 24)"
            )
            yield manifests.origins[reference].mistake(
                Problem(("spec", "auth", "secretRef", "name"), reason)
            )


def _may_be_of(client: Client, domain: str) -> bool:
    """Whether a Client may send from any address of a domain."""
    return any(
        pattern == "*" or specificity(pattern.rpartition("@")[2], domain)
        for pattern in client.senders
    )
