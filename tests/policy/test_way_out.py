"""The egress path of mail: the recipient's Domain, a named Relay, the most specific Relay."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.policy.egress_path import find_egress_path, may_be_otherwise
from postroad.policy.model import (
    Client,
    Domain,
    EgressPath,
    ObjectKey,
    Receive,
    Relay,
    Smarthost,
)
from postroad.policy.patterns import matching, specificity
from postroad.policy.snapshot import Snapshot

LABELS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
PATTERNS = st.one_of(LABELS, LABELS.map("*.{}".format), st.just("*"))


@given(LABELS, st.lists(PATTERNS, max_size=8))
def test_the_patterns_of_a_domain_are_those_that_fit_it_the_closest_first(
    domain: str, patterns: list[str]
) -> None:
    fitting = {pattern for pattern in patterns if specificity(pattern, domain)}
    ranked = sorted(fitting, key=lambda pattern: -specificity(pattern, domain))
    assert [pattern for pattern in matching(domain) if pattern in patterns] == ranked


def relay(name: str, *destinations: str, namespace: str = "shop") -> Relay:
    return Relay(ObjectKey(namespace, name), destinations, EgressPath(f"relay:{namespace}/{name}"))


REAL = EgressPath("domain:shop/a", (Smarthost("real.example"),))
SNAPSHOT = Snapshot.of(
    1,
    domains=(
        Domain(ObjectKey("shop", "a"), "in.example", receive=Receive(REAL)),
        Domain(
            ObjectKey("shop", "b"), "out.example", sends=True, relay=ObjectKey("mail", "direct")
        ),
        Domain(ObjectKey("shop", "c"), "plain.example", sends=True),
        Domain(ObjectKey("shop", "d"), "lost.example", sends=True, relay=ObjectKey("x", "gone")),
    ),
    relays=(
        relay("all", "*"),
        relay("org", "*.example.org"),
        relay("deep", "*.deep.example.org"),
        relay("exact", "a.example.org"),
        relay("org2", "*.example.org"),
        relay("direct", "*", namespace="mail"),
    ),
    clients=(
        Client(ObjectKey("shop", "named"), relay=ObjectKey("shop", "exact")),
        Client(ObjectKey("shop", "free")),
        Client(ObjectKey("shop", "lost"), relay=ObjectKey("shop", "gone")),
        Client(ObjectKey("empty", "free")),
    ),
)


@pytest.mark.parametrize(
    ("client", "sender", "recipient", "way"),
    [
        ("shop/free", "plain.example", "in.example", "domain:shop/a"),
        (None, None, "in.example", "domain:shop/a"),
        ("shop/named", "out.example", "b.example", "relay:shop/exact"),
        ("shop/free", "out.example", "b.example", "relay:mail/direct"),
        (None, "out.example", "b.example", "relay:mail/direct"),
        ("shop/free", "plain.example", "b.example", "relay:shop/all"),
        ("shop/free", None, "a.example.org", "relay:shop/exact"),
        ("shop/free", None, "b.example.org", "relay:shop/org"),
        ("shop/free", None, "x.deep.example.org", "relay:shop/deep"),
        ("shop/free", None, "example.org", "relay:shop/all"),
        (None, "plain.example", "b.example", "relay:shop/all"),
        # A stranger's, to postmaster of a domain that only sends, whoever he says that he is.
        (None, None, "out.example", "relay:mail/direct"),
        (None, "plain.example", "out.example", "relay:mail/direct"),
        (None, "out.example", "plain.example", "relay:shop/all"),
        (None, "unknown.example", "plain.example", "relay:shop/all"),
        ("empty/free", None, "b.example", None),
        (None, None, "b.example", None),
        (None, "unknown.example", "b.example", None),
        # A Relay that is named and gone is never replaced by another.
        ("shop/lost", "plain.example", "b.example", None),
        ("shop/free", "lost.example", "b.example", None),
    ],
)
def test_the_way_out(
    client: str | None, sender: str | None, recipient: str, way: str | None
) -> None:
    key = ObjectKey(*client.split("/")) if client else None
    found = find_egress_path(SNAPSHOT, client=key, sender_domain=sender, recipient_domain=recipient)
    assert (found.name if found else None) == way


@pytest.mark.parametrize(
    ("unreadable", "client", "sender", "recipient", "otherwise"),
    [
        ("relay.shop.smart", "shop/free", "plain.example", "b.example", True),
        ("relay.shop.smart", None, "plain.example", "b.example", True),
        ("relay.mail.smart", "shop/free", "plain.example", "b.example", False),
        ("relay.shop.smart", None, "out.example", "plain.example", True),
        ("relay.shop.smart", None, "plain.example", "out.example", False),
        ("relay.shop.smart", "shop/free", "plain.example", "in.example", False),
        ("relay.shop.smart", "shop/named", "plain.example", "b.example", False),
        ("relay.shop.exact", "shop/named", "plain.example", "b.example", True),  # as it was
        ("relay.shop.gone", "shop/lost", "plain.example", "b.example", True),
        ("relay.mail.other", "shop/free", "out.example", "b.example", False),
        ("client.shop.new", "shop/new", "plain.example", "b.example", True),
        ("client.shop.new", "shop/free", "plain.example", "b.example", False),
        ("domain.else.x", "shop/named", "plain.example", "b.example", True),  # the recipient's?
        ("domain.else.x", "shop/free", "plain.example", "in.example", False),
        ("domain.shop.a", "shop/free", "plain.example", "in.example", True),
        ("quota.shop.daily", "shop/free", "plain.example", "b.example", False),
        ("route.shop.x", "shop/free", "plain.example", "in.example", True),  # of a later version
    ],
)
def test_what_an_unreadable_object_may_change(
    unreadable: str, client: str | None, sender: str, recipient: str, otherwise: bool
) -> None:
    key = ObjectKey(*client.split("/")) if client else None
    stale = replace(SNAPSHOT, unreadable=frozenset({unreadable}))
    asked = {"client": key, "sender_domain": sender, "recipient_domain": recipient}
    assert may_be_otherwise(stale, **asked) is otherwise  # type: ignore[arg-type]
    assert not may_be_otherwise(SNAPSHOT, **asked)  # type: ignore[arg-type]
