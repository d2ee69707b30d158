"""What `postroad up` prints when it is ready, and its warning about its host name."""

import sys
from pathlib import Path

import pytest

from postroad.cli.standalone.banner import Banner, own_command
from postroad.cli.standalone.own_name import is_too_short
from postroad.policy.model import Domain, EgressPath, ObjectKey, Receive, Relay, Smarthost

PORTS = {"relay": "127.0.0.1:2525", "http": "127.0.0.1:8025"}


def test_the_first_line_says_that_it_is_ready() -> None:
    told = str(Banner(PORTS, Path("/state"), [Path("conf")])).splitlines()
    assert told[0] == "postroad is ready: relay 127.0.0.1:2525, http 127.0.0.1:8025"
    assert [line.split() for line in told[2:4]] == [["state", "/state"], ["manifests", "conf"]]
    assert not any("send" in line for line in told)


def test_the_example_set_says_how_to_send_a_first_message() -> None:
    banner = Banner(
        PORTS,
        Path("/state"),
        [Path("/state/example")],
        sink=Path("/state/sink"),
        command=".venv/bin/postroad",
        state_flag=" --state /state",
    )
    told = str(banner).splitlines()
    assert "  .venv/bin/postroad send --server 127.0.0.1:2525 --to you@example.net" in told
    assert "  .venv/bin/postroad events --state /state" in told
    assert all(len(line) <= 80 for line in told[1:])


def test_without_a_relay_port_no_message_is_suggested() -> None:
    banner = Banner({"submission": "127.0.0.1:2587"}, Path("/s"), [Path("/e")], sink=Path("/k"))
    assert "send" not in str(banner)


def test_a_hint_names_the_command_as_it_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = tmp_path / "bin with space" / "postroad"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(command)])
    monkeypatch.setenv("PATH", "/usr/bin")
    assert own_command() == f"'{command}'"
    monkeypatch.setenv("PATH", str(command.parent))
    assert own_command() == "postroad"
    monkeypatch.setattr(sys, "argv", ["/x/postroad/cli/__main__.py"])
    assert own_command() == f"{sys.executable} -m postroad.cli"


def relay(*hosts: str) -> Relay:
    hops = tuple(Smarthost(host) for host in hosts)
    return Relay(ObjectKey("default", "out"), ("*",), EgressPath("relay:default/out", hops))


def domain(host: str) -> Domain:
    egress_path = EgressPath("domain:default/here", (Smarthost(host),))
    return Domain(ObjectKey("default", "here"), "here.example", Receive(egress_path))


@pytest.mark.parametrize(
    ("name", "entry", "short"),
    [
        ("localhost", relay(), True),
        ("localhost", relay("smtp.provider.example"), True),
        ("localhost", relay("127.0.0.1", "192.0.2.1"), True),
        ("localhost", domain("mail.internal"), True),
        ("localhost", relay("127.0.0.1", "::1", "localhost"), False),
        ("localhost", domain("localhost"), False),
        ("relay.example.com", relay(), False),
    ],
)
def test_a_name_without_a_dot_will_not_do_where_mail_leaves(
    name: str, entry: Relay | Domain, short: bool
) -> None:
    assert is_too_short(name, [entry]) is short
