"""DomainGrants: what one gives to a namespace, while it is there and while it is unreadable."""

from dataclasses import replace

import pytest

from postroad.manifests.kinds.domain_grant import DomainGrantSpec
from postroad.policy.model import ObjectKey
from postroad_harness.compiling import compiled
from postroad_harness.setups.claims import GRANT, NAME, OTHERS, WORK, claimed, hosts, judged


@pytest.mark.parametrize(
    "grant",
    [
        GRANT % ("work", NAME, "work"),  # nobody grants a name to himself
        GRANT % ("mail", "*.bank.example", "work"),
        GRANT % ("mail", NAME, "app"),
        GRANT.replace("domains", "domain") % ("mail", NAME, "work"),
    ],
)
def test_a_grant_elsewhere_or_of_something_else_grants_nothing(grant: str) -> None:
    assert hosts(compiled(WORK, *OTHERS, grant, claims=judged()))["app"] == "by MX"


def test_a_grant_outside_the_namespace_of_the_release_says_so() -> None:
    outcome = compiled(GRANT % ("work", NAME, "work"), claims=judged())
    [[ready, accepted]] = outcome.conditions.values()
    assert not ready.status
    assert accepted.reason == "NotInReleaseNamespace"
    [[ready, _]] = compiled(GRANT % ("mail", NAME, "work"), claims=judged()).conditions.values()
    assert ready.status
    assert compiled(GRANT % ("mail", NAME, "work"), claims=judged()).entries == {}


def test_a_grant_ends_at_once_and_never_because_it_cannot_be_read() -> None:
    grant = GRANT % ("mail", NAME, "work")
    before = compiled(WORK, *OTHERS, grant, claims=judged())
    broken = compiled(
        WORK, *OTHERS, grant.replace("domains", "domain"), last_good=before, claims=judged()
    )
    assert hosts(broken)["app"] == "work"
    unlisted = compiled(WORK, *OTHERS, last_good=before, complete=False, claims=judged())
    assert hosts(unlisted)["app"] == "work"
    assert hosts(compiled(WORK, *OTHERS, last_good=before, claims=judged()))["app"] == "by MX"


def test_a_deleted_grant_ends_though_another_that_was_known_cannot_be_read() -> None:
    grant, other = GRANT % ("mail", NAME, "work"), GRANT % ("mail", "a.example", "app")
    other = other.replace("name: g,", "name: other,")
    broken = other.replace("domains", "domain")
    before = compiled(WORK, *OTHERS, grant, other, claims=judged())
    known = {
        ObjectKey("mail", "other"): DomainGrantSpec(domains=("a.example",), namespaces=("app",))
    }
    claims = replace(judged(), grants=known)
    assert hosts(compiled(WORK, *OTHERS, grant, broken, claims=claims))["app"] == "work"
    after = compiled(WORK, *OTHERS, broken, last_good=before, claims=claims)
    assert hosts(after)["app"] == "by MX"
    # After a start of the operator nobody knows what the other one gives.
    unknown = compiled(WORK, *OTHERS, broken, last_good=before, claims=judged())
    assert hosts(unknown)["app"] == "work"
    status, reason, message = claimed(unknown, "work")
    assert (status, reason) == (True, "Granted")
    assert "while another cannot be read" in message


def test_a_grant_gives_what_it_gave_while_it_cannot_be_read() -> None:
    broken = (GRANT % ("mail", NAME, "work")).replace("domains", "domain")
    known = {ObjectKey("mail", "g"): DomainGrantSpec(domains=(NAME,), namespaces=("work",))}
    outcome = compiled(WORK, *OTHERS, broken, claims=replace(judged(), grants=known))
    assert hosts(outcome)["app"] == "work"


def test_a_grant_of_one_name_is_none_of_another_while_a_grant_cannot_be_read() -> None:
    grant = GRANT % ("mail", NAME, "work")
    before = compiled(
        *(WORK.replace(NAME, "a.example"), grant.replace(NAME, "a.example"), *OTHERS),
        claims=judged(),
    )
    assert claimed(before, "work")[1] == "Granted"
    broken = grant.replace("domains", "domain")
    after = compiled(WORK, *OTHERS, broken, last_good=before, claims=judged())
    assert hosts(after)["app"] == "by MX"
