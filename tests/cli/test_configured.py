"""The queue that a start without --config finds: only the example's own is used."""

import pytest

from postroad.cli.state.configured import Routes, is_the_examples, routes
from postroad.policy.model import Domain, EgressPath, ObjectKey, Receive, Relay, Smarthost


def relay(name: str, *hosts: str, port: int = 2525) -> Routes:
    path = EgressPath(f"relay:default/{name}", tuple(Smarthost(host, port) for host in hosts))
    return routes([Relay(ObjectKey("default", name), ("*",), path)])


def domain(host: str) -> Routes:
    path = EgressPath("domain:default/here", (Smarthost(host),))
    return routes([Domain(ObjectKey("default", "here"), "here.example", Receive(path))])


SINK = relay("sink", "127.0.0.1")


@pytest.mark.parametrize(
    ("published", "example", "fits"),
    [
        (SINK, SINK, True),
        (SINK, None, True),
        (relay("sink", "127.0.0.1", port=4000), SINK, True),
        (relay("sink"), relay("sink"), True),
        (relay("sink"), relay("sink", "smtp.provider.example"), True),
        ({**SINK, **domain("10.0.0.1")}, {**SINK, **domain("10.0.0.1")}, True),
        ({}, {}, True),
        (relay("out", "127.0.0.1"), None, False),
        (relay("out", "127.0.0.1"), SINK, False),
        (relay("sink"), SINK, False),
        (relay("sink", "smtp.provider.example"), None, False),
        (domain("10.0.0.1"), SINK, False),
        ({**relay("out"), **SINK}, SINK, False),
        ({}, None, False),
    ],
    ids=[
        "the example",
        "the example, restored without its files",
        "its sink at another port",
        "edited to deliver by MX",
        "edited again while it was down",
        "with a Domain added",
        "edited to have no route",
        "a relay by a smarthost on this machine",
        "such a relay where the example ran before",
        "a Relay of the same name by MX",
        "a Relay of the same name by a smarthost",
        "a Domain that receives",
        "a Relay beside one like the sink",
        "objects without a route",
    ],
)
def test_the_example_leads_only_mail_that_was_its_own(
    published: Routes, example: Routes | None, fits: bool
) -> None:
    assert is_the_examples(published, example) is fits
