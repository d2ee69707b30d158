"""Commands as octets: each is one line, whatever is in the mail, and can be parsed back."""

import base64
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroad.mail.address import Mailbox, parse_forward_path, parse_mailbox, parse_reverse_path
from postroad.mail.envelope import Ret
from postroad.smtp import command
from postroad.smtp.errors import LocalProtocolError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=60)
ATOMS = st.text(st.sampled_from("abcXYZ019!#$%&'*+/=?^_`{|}~-äλ"), min_size=1, max_size=12)
QUOTED = st.text(st.sampled_from('ab <>@:;,.()[]é"\\'), max_size=12).map(
    lambda text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
)
LOCAL_PARTS = st.lists(ATOMS, min_size=1, max_size=3).map(".".join) | QUOTED
DOMAINS = st.sampled_from(
    ["x.example", "xn--bcher-kva.example", "[192.0.2.1]", "[IPv6:2001:db8::1]"]
)
MAILBOXES = st.builds(Mailbox, LOCAL_PARTS, DOMAINS)


def path_in(line: bytes, verb: str) -> str:
    """Return the path of a command as a server reads it: quoted strings may hold anything."""
    pattern = verb + r':(<(?:"(?:[^"\\]|\\.)*"|[^">])*>)( .*)?\r\n'
    match = re.fullmatch(pattern, line.decode("utf-8"))
    assert match is not None, line
    return match[1]


@given(MAILBOXES)
def test_a_mailbox_is_read_back_as_it_was_said(mailbox: Mailbox) -> None:
    mail = path_in(command.mail(mailbox, ["SIZE=10", "BODY=8BITMIME"]), "MAIL FROM")
    rcpt = path_in(command.rcpt(mailbox), "RCPT TO")
    assert parse_reverse_path(mail) == mailbox
    assert parse_forward_path(rcpt, postmaster_domain="x.example") == mailbox


def test_commands_as_they_are_written() -> None:
    mailbox = parse_mailbox("a@X.Example")
    assert command.mail(None) == b"MAIL FROM:<>\r\n"
    assert command.mail(mailbox, ["SIZE=5", "SMTPUTF8"]) == (
        b"MAIL FROM:<a@x.example> SIZE=5 SMTPUTF8\r\n"
    )
    assert command.rcpt(mailbox) == b"RCPT TO:<a@x.example>\r\n"
    assert command.line("EHLO me.example") == b"EHLO me.example\r\n"


@given(st.text(max_size=20), st.sampled_from("\r\n\0\x1f\x7f\t\v"), st.text(max_size=20))
def test_nothing_can_add_a_line(before: str, control: str, after: str) -> None:
    with pytest.raises(LocalProtocolError):
        command.line(f"EHLO {before}{control}{after}")
    with pytest.raises(LocalProtocolError):
        command.rcpt(Mailbox(f"{before}{control}{after}", "x.example"))
    with pytest.raises(LocalProtocolError):
        command.mail(None, [f"X={before}{control}{after}"])


def test_an_injected_command_is_refused_and_not_cut() -> None:
    with pytest.raises(LocalProtocolError):
        command.mail(Mailbox("a", "x.example>\r\nRCPT TO:<victim@y.example"))


@given(TEXTS)
def test_xtext_reads_back_and_is_one_parameter(text: str) -> None:
    encoded = command.xtext(text)
    assert re.fullmatch(r"[\x21-\x2a\x2c-\x3c\x3e-\x7e+]*", encoded)
    assert "=" not in encoded
    octets = re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), encoded)
    assert octets.encode("latin-1").decode() == text


@pytest.mark.parametrize(
    ("ret", "envid", "said"),
    [
        (None, None, []),
        (Ret.HEADERS, None, ["RET=HDRS"]),
        (Ret.FULL, "id 1+1=2", ["RET=FULL", "ENVID=id+201+2B1+3D2"]),
    ],
)
def test_what_a_report_is_asked_to_hold(ret: Ret | None, envid: str | None, said: object) -> None:
    assert command.mail_dsn_parameters(ret, envid) == said


@given(TEXTS, TEXTS)
def test_auth_plain_carries_any_name_and_password(username: str, password: str) -> None:
    said = command.auth_plain(username, password)
    assert said.startswith(b"AUTH PLAIN ")
    assert said.count(b"\r\n") == 1
    response = base64.b64decode(said.removeprefix(b"AUTH PLAIN ").strip(), validate=True)
    assert response == b"\0" + username.encode() + b"\0" + password.encode()
