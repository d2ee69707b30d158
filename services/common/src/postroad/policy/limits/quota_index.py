"""
An index of Quotas, which finds those that a message may count against, out of thousands.

Quotas with the narrowest subjects come first. So a message that its own sender's quota refuses
takes no slice of a quota that many share.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

from postroad.mail.address import meant
from postroad.policy.limits.quota import Sending
from postroad.policy.model import Quota, QuotaSubject, SubjectKind
from postroad.policy.patterns import address_key, matching

_FEW = 4  # up to so many, checking each is faster than look-ups
_EVERYBODY = "*"


class QuotaIndex:
    """The Quotas of a configuration, indexed by subject."""

    def __init__(self, quotas: Iterable[Quota]) -> None:
        kinds = list(_KEYS)
        self._all = sorted(quotas, key=lambda each: (kinds.index(each.subject.kind), each.key))
        tables: dict[SubjectKind, dict[str, list[Quota]]] = {}
        for quota in self._all:
            table = tables.setdefault(quota.subject.kind, {})
            table.setdefault(_filed_under(quota.subject), []).append(quota)
        self._tables = [(_KEYS[kind], table) for kind, table in tables.items()]

    def of(self, sending: Sending) -> Sequence[Quota]:
        """Return every Quota whose subject may match; `demands` decides whether it does."""
        if len(self._all) <= _FEW:
            return self._all
        found: list[Quota] = []
        for keys, table in self._tables:
            for key in keys(sending):
                found += table.get(key, ())
        return found


def _filed_under(subject: QuotaSubject) -> str:
    if subject.kind is SubjectKind.CLIENT_NETWORK:
        return _EVERYBODY
    return address_key(subject.match) if subject.kind is SubjectKind.SENDER else subject.match


def _sender_keys(sending: Sending) -> Iterator[str]:
    sender = sending.reverse_path
    if sender is not None:
        local_part = meant(sender.local_part)
        for pattern in matching(sender.domain):
            yield f"{local_part}@{pattern}"
            yield pattern


def _client_keys(sending: Sending) -> Sequence[str]:
    if sending.client is None:
        return ()
    namespace, name = sending.client
    return f"{namespace}/{name}", f"{namespace}/*", f"*/{name}", "*/*"


def _domain_keys(sending: Sending) -> Iterable[str]:
    return () if sending.reverse_path is None else matching(sending.reverse_path.domain)


def _network_keys(_: Sending) -> Sequence[str]:
    return (_EVERYBODY,)


def _namespace_keys(sending: Sending) -> Sequence[str]:
    return () if sending.client is None else (sending.client.namespace, _EVERYBODY)


# The keys to look up for a message, by kind of subject; the narrowest kind is first.
_KEYS: dict[SubjectKind, Callable[[Sending], Iterable[str]]] = {
    SubjectKind.SENDER: _sender_keys,
    SubjectKind.CLIENT: _client_keys,
    SubjectKind.SENDER_DOMAIN: _domain_keys,
    SubjectKind.CLIENT_NETWORK: _network_keys,
    SubjectKind.NAMESPACE: _namespace_keys,
}
