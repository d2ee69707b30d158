"""
Resolves the references of an object: to its Secret, its Relay, and the Domains of its senders.

It looks among the declared objects and those in force so far. A reference to a missing object, or
to one that does not admit the namespace, is a finding.
"""

from collections.abc import Iterable, Mapping

from postroad.manifests.compiler.entries import admitted, relay_key
from postroad.manifests.compiler.findings import Finding, read_credentials, refused
from postroad.manifests.compiler.result import ConditionType, Reason
from postroad.manifests.kinds.relay import RelaySpec
from postroad.manifests.kinds.shared import AllowedNamespaces, RelayRef
from postroad.manifests.objects import Declared, Kind, Objects, Reference
from postroad.policy.consent import may_send_as
from postroad.policy.model import Client, Credentials, Domain, Entry, ObjectKey


class References:
    """
    The objects that others refer to, in one compilation.

    The compiler fills `in_force` meanwhile, Relays first.
    """

    def __init__(
        self, objects: Objects, last_good: Mapping[str, Entry], *, in_force: Mapping[str, Entry]
    ) -> None:
        self._objects = objects
        self._last_good = last_good
        self._in_force = in_force
        self._relays = {
            each.reference.key: each.spec
            for each in objects.declared
            if isinstance(each.spec, RelaySpec)
        }
        spaces = {each.reference.key.namespace for each in objects.declared}
        unlabelled: dict[str, Mapping[str, str]] = {name: {} for name in spaces}
        self._namespaces = {**unlabelled, **objects.namespaces}

    def admitted(self, allowed: AllowedNamespaces) -> frozenset[str] | None:
        """Return the other namespaces that an object admits; None for every namespace."""
        return admitted(allowed, self._namespaces)

    def credentials(
        self,
        declared: Declared,
        secret: str,
        path: tuple[str | int, ...],
        findings: list[Finding],
        *,
        hosts: Iterable[str] = (),
    ) -> Credentials | None:
        """
        Return the login in a Secret of the object's namespace; None, with a finding, if none.

        `hosts` are those to which a Relay sends it.
        """
        key = ObjectKey(declared.reference.key.namespace, secret)
        found = read_credentials(
            self._objects, key, ("spec", *path, "secretRef", "name"), hosts=hosts
        )
        if isinstance(found, Finding):
            findings.append(found)
            return None
        return found

    def relay(
        self,
        declared: Declared,
        reference: RelayRef | None,
        path: tuple[str, ...],
        findings: list[Finding],
    ) -> ObjectKey | None:
        """Return the key of the Relay that an object names; a finding if it may not use it."""
        if reference is None:
            return None
        key = relay_key(reference, declared.reference.key.namespace)
        self.check_consent(declared, key, path, findings)
        return key

    def check_consent(
        self,
        declared: Declared,
        relay: ObjectKey | None,
        path: tuple[str, ...],
        findings: list[Finding],
    ) -> None:
        """Add a finding unless the Relay that an object uses exists and admits its namespace."""
        if relay is None:
            return
        namespace = declared.reference.key.namespace
        spec = self._relays.get(relay)
        in_force = Reference(Kind.RELAY, relay).entry_key in self._in_force
        if spec is not None:
            allowed = self.admitted(spec.allowed_namespaces)
            if namespace != relay.namespace and allowed is not None and namespace not in allowed:
                message = f"Relay {relay} does not admit namespace {namespace}"
                advice = "add the namespace to its spec.allowedNamespaces"
                reason = Reason.NOT_ALLOWED_BY_RELAY
                findings.append(refused(reason, f"{message}; {advice}", *path))
            elif not in_force:
                message = f"Relay {relay} is not in force; see its own conditions"
                findings.append(refused(Reason.RELAY_NOT_READY, message, *path))
        elif not in_force:
            message = f"there is no Relay {relay}; declare it, or name another"
            findings.append(refused(Reason.RELAY_NOT_FOUND, message, *path))
        elif not self._used_before(declared, relay) and namespace != relay.namespace:
            # Its manifest cannot be read, so it is unknown whom it admits now.
            message = f"Relay {relay} has a manifest that cannot be read; fix it first"
            findings.append(refused(Reason.RELAY_NOT_READY, message, *path))

    def _used_before(self, declared: Declared, relay: ObjectKey) -> bool:
        kept = self._last_good.get(declared.reference.entry_key)
        return isinstance(kept, Domain | Client) and kept.relay == relay


def allowed_senders(
    declared: Declared,
    senders: tuple[str, ...],
    domains: Mapping[str, Domain],
    denied: list[Finding],
) -> tuple[str, ...]:
    """Return the senders, without those of Domains that do not admit the namespace."""
    namespace = declared.reference.key.namespace
    allowed = []
    for index, pattern in enumerate(senders):
        if may_send_as(domains.get(pattern.rpartition("@")[2]), namespace):
            allowed.append(pattern)
            continue
        message = (
            f"{pattern} is of a Domain in another namespace, which does not admit namespace"
            f" {namespace}; add the namespace to its spec.allowedNamespaces"
        )
        reason = Reason.SENDER_NOT_ALLOWED
        path = ("spec", "senders", index)
        denied.append(Finding(ConditionType.SENDERS_ALLOWED, reason, message, path))
    return tuple(allowed)
