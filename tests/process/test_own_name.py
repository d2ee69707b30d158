"""The name of a process in SMTP: in one form that other hosts accept."""

import socket
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from postroad.delivery.settings import DeliverySettings
from postroad.ingress.settings import IngressSettings
from postroad.process.errors import SettingsError, StartupError
from postroad.process.own_name import own_name
from postroad.process.settings import load
from postroad.units.addresses import HostName, parse_host_name

NATS = {"POSTROAD_NATS_URL": "nats://127.0.0.1:4222", "POSTROAD_CLUSTER_KEY_FILE": "/none"}


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("mail.example.com", "mail.example.com"),
        ("Mail.Example.COM.", "mail.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("mailrelay", "mailrelay"),
        ("1.example", "1.example"),
    ],
)
def test_a_name_is_brought_to_one_form(written: str, name: str) -> None:
    assert parse_host_name(written) == name


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("my_host.example", "underscore"),
        ("bad host", "not allowed"),
        ("[192.0.2.1]", "literal"),
        ("192.0.2.1", "number"),
        ("-a.example", "not allowed"),
        ("a..example", "not allowed"),
        ("a.example\r\n", "not allowed"),
        ("l" * 64 + ".example", "not allowed"),
        (".".join(["l" * 60] * 5), "too long"),
    ],
)
def test_what_is_no_host_s_name_is_refused_with_the_reason(written: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_host_name(written)


@pytest.mark.parametrize("settings", [IngressSettings, DeliverySettings])
def test_a_process_does_not_start_with_a_name_that_it_cannot_say(settings: type) -> None:
    with pytest.raises(SettingsError, match=r"POSTROAD_HOSTNAME: .* has an underscore"):
        load(settings, {**NATS, "POSTROAD_HOSTNAME": "my_host.example"})


def test_a_name_without_a_dot_is_warned_of() -> None:
    with capture_logs() as lines:
        assert own_name(HostName("mailrelay")) == "mailrelay"
        assert own_name(HostName("mail.example.com")) == "mail.example.com"
    assert [(line["log_level"], line["host"]) for line in lines] == [("warning", "mailrelay")]


@dataclass
class Machine:
    """A machine, by its name."""

    name: str

    def getfqdn(self) -> str:
        """Return it."""
        return self.name


def test_without_a_setting_it_is_the_machine_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", Machine("Host.Example.").getfqdn)
    assert own_name(None) == "host.example"
    monkeypatch.setattr(socket, "getfqdn", Machine("my_host").getfqdn)
    with pytest.raises(StartupError, match="set POSTROAD_HOSTNAME"):
        own_name(None)
