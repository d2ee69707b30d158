"""Values that several flags take are read by the same rules."""

import pytest

from postroad.cli.errors import Failure
from postroad.cli.options import listen_address, listener, mail_address, mail_domain, server_address


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("192.0.2.1", "192.0.2.1:25"),
        ("192.0.2.1:2525", "192.0.2.1:2525"),
        ("[::1]", "[::1]:25"),
        ("[::1]:2525", "[::1]:2525"),
        ("localhost", "{local}:25"),
    ],
)
def test_every_address_may_leave_out_its_port(text: str, read: str) -> None:
    server = server_address(text, option="--server", default_port=25)
    here = listen_address(text, option="--relay", default_port=25)
    assert str(server) == read.format(local="localhost")
    assert str(here) == read.format(local="127.0.0.1")


def test_a_server_is_called_what_its_certificate_and_sni_have() -> None:
    server = server_address("MX.Bücher.Example.", option="--server", default_port=25)
    assert str(server) == "mx.xn--bcher-kva.example:25"


def test_a_wrong_address_is_quoted_as_it_came() -> None:
    with pytest.raises(Failure, match=r"^--relay: 'relay' names a host"):
        listen_address("relay", option="--relay", default_port=25)


@pytest.mark.parametrize("text", ["", "none", "None"])
def test_a_listener_can_be_switched_off(text: str) -> None:
    assert listener(text, option="--relay", default_port=25) is None


@pytest.mark.parametrize("text", ["a@b.example", "a@[192.0.2.1]", "root@localhost", "ä@b.example"])
def test_a_mail_address_passes_as_it_came(text: str) -> None:
    assert mail_address(text, option="--to") == text


@pytest.mark.parametrize("text", ["a", "a@", "@b.example", "a@b", "a@b..example", "a b@c.example"])
def test_what_is_no_mail_address_names_its_flag(text: str) -> None:
    with pytest.raises(Failure, match=r"^--to: "):
        mail_address(text, option="--to")


@pytest.mark.parametrize("text", ["", "b", "b..example", "b example"])
def test_what_is_no_domain_names_its_flag(text: str) -> None:
    with pytest.raises(Failure, match=r"^--domain: "):
        mail_domain(text, option="--domain")
