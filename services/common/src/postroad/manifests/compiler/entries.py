"""Makes the values of the snapshot from the models of manifests, after references are resolved."""

from collections.abc import Mapping

from postroad.mail.traffic import TrafficClass
from postroad.manifests.kinds.client import ClientSpec
from postroad.manifests.kinds.domain import DomainSpec, ReceiveSpec
from postroad.manifests.kinds.quota import QuotaSpec, Subject
from postroad.manifests.kinds.relay import RelaySpec, Retry
from postroad.manifests.kinds.shared import AllowedNamespaces, NextHop, RelayRef
from postroad.policy.model import (
    Client,
    Credentials,
    Domain,
    EgressPath,
    ObjectKey,
    Quota,
    QuotaLimit,
    QuotaSubject,
    Receive,
    Relay,
    RetrySchedule,
    ScramVerifier,
    SiteLimits,
    Smarthost,
    Source,
    SubjectKind,
    TlsMode,
)

NamespaceLabels = Mapping[str, Mapping[str, str]]

_NAME_LABEL = "kubernetes.io/metadata.name"


def admitted(allowed: AllowedNamespaces, namespaces: NamespaceLabels) -> frozenset[str] | None:
    """Return the other namespaces that are admitted, None for all."""
    if allowed.from_ == "All":
        return None
    if allowed.selector is None:
        return frozenset()
    selector = allowed.selector
    return frozenset(
        name
        for name, labels in namespaces.items()
        # Kubernetes gives every namespace its name as a label.
        if selector.admits({**labels, _NAME_LABEL: name})
    )


def relay_key(reference: RelayRef, own_namespace: str) -> ObjectKey:
    """Return the key of the Relay that a reference in an object of `own_namespace` names."""
    return ObjectKey(reference.namespace or own_namespace, reference.name)


def relay_entry(key: ObjectKey, spec: RelaySpec, credentials: Credentials | None) -> Relay:
    """Return the Relay to put in force."""
    egress_path = EgressPath(
        name=f"relay:{key}",
        smarthosts=_smarthosts(spec.smarthosts),
        tls=spec.tls.mode,
        implicit_tls=spec.implicit_tls,
        credentials=credentials,
        unverified_login=spec.tls.allow_unverified_login,
        pool=spec.egress.pool,
        sources=tuple(
            Source(source.name, source.address, source.ehlo, source.weight)
            for source in spec.egress.sources
        ),
        retry=_retry(spec.retry),
        limits=SiteLimits(
            spec.limits.connections, spec.limits.messages_per_connection, spec.limits.message_rate
        ),
    )
    return Relay(key, spec.destinations, egress_path)


UNVERIFIED_LOGIN = (
    "with tls.allowUnverifiedLogin the password is sent to hosts whose certificate is not checked"
)


def logs_in_unverified(relay: Relay) -> bool:
    """Whether a Relay may send its login to a host without verifying the host's certificate."""
    egress_path = relay.egress_path
    checked = egress_path.tls is TlsMode.VERIFIED or not egress_path.unverified_login
    return egress_path.credentials is not None and not checked


def _smarthosts(hops: tuple[NextHop, ...]) -> tuple[Smarthost, ...]:
    return tuple(Smarthost(hop.host, hop.port, hop.priority, hop.weight) for hop in hops)


def _retry(retry: Retry) -> RetrySchedule:
    return RetrySchedule(
        first=retry.first,
        factor=retry.factor,
        longest=retry.max,
        lifetime=retry.lifetime,
        delay_warning=retry.delay_warning or None,
    )


def domain_entry(
    key: ObjectKey,
    spec: DomainSpec,
    *,
    relay: ObjectKey | None,
    admits: frozenset[str] | None,
) -> Domain:
    """Return the Domain to put in force."""
    return Domain(
        key,
        spec.domain,
        receive=_receive(key, spec.receive) if spec.receive else None,
        sends=spec.send is not None,
        relay=relay,
        admits=admits,
    )


def _receive(key: ObjectKey, spec: ReceiveSpec) -> Receive:
    egress_path = EgressPath(
        name=f"domain:{key}",
        smarthosts=_smarthosts(spec.route.hosts),
        tls=spec.route.tls,
        implicit_tls=spec.route.implicit_tls,
    )
    listed = spec.recipients.mode == "List"
    return Receive(egress_path, spec.recipients.addresses if listed else None)


def client_entry(
    key: ObjectKey,
    spec: ClientSpec,
    *,
    username: str | None,
    verifier: ScramVerifier | None,
    senders: tuple[str, ...],
    relay: ObjectKey | None,
) -> Client:
    """Return the Client to put in force."""
    bulk = spec.class_ == "Bulk"
    return Client(
        key,
        username=username,
        verifier=verifier,
        networks=spec.networks,
        senders=senders,
        relay=relay,
        traffic_class=TrafficClass.BULK if bulk else TrafficClass.TRANSACTIONAL,
    )


def quota_entry(key: ObjectKey, spec: QuotaSpec) -> Quota:
    """Return the Quota to put in force."""
    limits = tuple(QuotaLimit(limit.unit, limit.maximum, limit.per) for limit in spec.limits)
    return Quota(key, _subject(key, spec.subject), limits, spec.on_exceeded)


def _subject(key: ObjectKey, subject: Subject) -> QuotaSubject:
    if subject.namespace is not None:
        return QuotaSubject(SubjectKind.NAMESPACE, subject.namespace)
    if subject.client is not None:
        own = "/" not in subject.client
        match = f"{key.namespace}/{subject.client}" if own else subject.client
        return QuotaSubject(SubjectKind.CLIENT, match)
    if subject.sender_domain is not None:
        return QuotaSubject(SubjectKind.SENDER_DOMAIN, subject.sender_domain)
    if subject.sender is not None:
        return QuotaSubject(SubjectKind.SENDER, subject.sender.match)
    assert subject.client_network is not None  # the model checks that exactly one is set
    network = subject.client_network
    return QuotaSubject(
        SubjectKind.CLIENT_NETWORK,
        prefix_length=network.prefix_length,
        prefix_length_v6=network.prefix_length_v6,
    )
