"""`postroad send` against a real ingress: flags, files, TLS, passwords, refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from postroad.acceptance.admission import ListenerKind
from postroad.cli.sink.command import listen_sink
from postroad.cli.sink.server import Sink
from postroad.spool.event import EventType
from postroad.testing.children import run
from postroad.testing.patience import patient
from postroad.testing.peers.mx import HANG_UP, ScriptedMx
from postroad.testing.processes.ingress import MANIFESTS, Scene, start_ingress
from postroad.units.addresses import ListenAddress


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    scene = await start_ingress(tls=tmp_path / "tls", insecure_auth=True)
    await scene.configure(MANIFESTS, tmp_path)
    yield scene
    await scene.end()


async def send(*flags: str, stdin: bytes = b"", **environment: str) -> tuple[int, str, str]:
    variables = {"COLUMNS": "200", "PATH": "", **environment}
    return await run("send", *flags, stdin=stdin, environment=variables)


def server(scene: Scene, kind: ListenerKind = ListenerKind.RELAY) -> tuple[str, ...]:
    return ("--server", f"127.0.0.1:{scene.ports[kind]}", "--from", "me@near.example")


async def test_a_message_from_flags(scene: Scene) -> None:
    flags = ("--to", "you@far.example", "--subject", "größe", "--body", "hello", "--json")
    code, out, err = await send(*server(scene), *flags, "--header", "X-Tag: test")
    assert code == 0, err
    [record] = scene.records
    assert json.loads(out)["queue_id"] == record.record_id.queue_id
    body = await scene.body()
    assert b"X-Tag: test\r\n" in body
    assert body.endswith(b"hello\r\n")


async def test_a_whole_message_from_stdin_goes_as_it_is(scene: Scene) -> None:
    message = b"From: a@near.example\nSubject: whole\n\n.dot\nlast"
    code, _, err = await send(
        *server(scene), "--to", "you@far.example", "--file", "-", stdin=message
    )
    assert code == 0, err
    assert await scene.body() == b"From: a@near.example\r\nSubject: whole\r\n\r\n.dot\r\nlast\r\n"


PORTS = {
    "none": ListenerKind.RELAY,
    "starttls": ListenerKind.SUBMISSION,
    "implicit": ListenerKind.SUBMISSIONS,
}


@pytest.mark.parametrize("tls", PORTS)
@pytest.mark.parametrize("client", ["network", "shop"])
async def test_every_kind_of_tls_with_a_login_and_without(
    scene: Scene, tmp_path: Path, tls: str, client: str
) -> None:
    password = tmp_path / "password"
    password.write_text("correct horse\n")
    flags = [*server(scene, PORTS[tls]), "--to", "you@far.example", "--tls", tls, "--insecure"]
    if client == "shop":
        flags += ["--user", "shop", "--password-file", str(password)]
        flags += ["--from", "news@shop.example"]
    code, _, err = await send(*flags)
    assert code == 0, err
    assert scene.records[0].origin.client == f"default/{client}"


async def test_a_wrong_password_is_tried_once(scene: Scene) -> None:
    flags = ("--to", "you@far.example", "--user", "shop")
    code, _, err = await send(
        *server(scene, ListenerKind.SUBMISSION), *flags, POSTROAD_PASSWORD="x"
    )
    assert code == 1
    assert "535 5.7.8 wrong username or password" in err
    [refused] = [event async for event in scene.spool.events.read()]
    assert refused.type is EventType.REJECTION


@pytest.mark.parametrize(
    ("kind", "tls", "says"),
    [
        (ListenerKind.SUBMISSIONS, "none", "is this a TLS port? try --tls implicit"),
        (ListenerKind.SUBMISSIONS, "starttls", "is this a TLS port? try --tls implicit"),
        (ListenerKind.RELAY, "implicit", "it answers in clear; try --tls starttls"),
    ],
)
async def test_a_tls_that_does_not_go_with_the_port_is_told(
    scene: Scene, kind: ListenerKind, tls: str, says: str
) -> None:
    """Takes the five seconds that a greeting has; the server itself waits for thirty."""
    async with asyncio.timeout(patient(20)):
        code, _, err = await send(*server(scene, kind), "--to", "you@far.example", "--tls", tls)
    assert code == 1
    assert says in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--tls", "starttls"), "offers no STARTTLS; try --tls implicit"),
        (("--user", "shop"), "takes no login here; try --tls starttls"),
    ],
)
async def test_what_a_server_does_not_offer_is_told(flags: tuple[str, ...], says: str) -> None:
    sink = Sink()
    serving, address = await listen_sink(sink, ListenAddress("127.0.0.1", 0))
    where = ("--server", address, "--to", "you@far.example")
    code, _, err = await send(*where, *flags, POSTROAD_PASSWORD="secret")
    serving.close()
    await sink.hang_up()
    assert code == 1
    assert says in err


@pytest.mark.parametrize(
    "flags",
    [
        ("--header", "X Foo: 1"),
        ("--header", ": 1"),
        ("--header", "X-Föö: 1"),
        ("--header", "Content-Type: multipart/mixed"),
        ("--header", "mime-version: 9"),
        ("--to", "a@b"),
        ("--from", "a@b"),
        ("--server", "fo o"),
        ("--server", "127.0.0.1:0"),
        ("--header", "X-Tag: a\x0bb"),
        ("--header", "From: \x01"),
        ("--header", "Subject: a\u2028b"),
        ("--subject", "a\x85b"),
        ("--subject", "a\x0cb"),
        ("--subject", "\x1b[2J"),
    ],
)
async def test_a_wrong_value_names_its_flag(flags: tuple[str, str]) -> None:
    code, _, err = await send("--to", "you@far.example", "--server", "127.0.0.1:1", *flags)
    assert code == 2
    assert flags[0] in err
    assert flags[1] in err or repr(flags[1])[1:-1] in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(("tls", "port"), [("starttls", 587), ("implicit", 465)])
async def test_a_server_without_a_port_is_asked_where_its_tls_is_had(tls: str, port: int) -> None:
    code, _, err = await send("--to", "you@far.example", "--server", "127.0.0.77", "--tls", tls)
    assert code == 1
    assert f" 127.0.0.77:{port}" in err


async def test_a_field_that_stands_already_is_replaced(scene: Scene) -> None:
    fields = ("--header", "Subject: mine", "--header", "X-Tag: 1", "--header", "X-Tag: 2")
    code, _, err = await send(*server(scene), "--to", "you@far.example", *fields)
    assert code == 0, err
    body = await scene.body()
    assert body.count(b"Subject: ") == 1
    assert b"Subject: mine\r\n" in body
    assert b"X-Tag: 1\r\nX-Tag: 2\r\n" in body


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--to", "nobody@here.example"), "no such recipient"),
        (("--to", "you@far.example", "--from", "x@other.example"), "relay access denied"),
        (("--to", "you@far.example", "--tls", "starttls"), "certificate"),
        (("--to", "you@far.example", "--file", "/nowhere"), "/nowhere"),
    ],
)
async def test_a_refusal_is_one_line_and_exit_code_1(
    scene: Scene, flags: tuple[str, ...], says: str
) -> None:
    code, _, err = await send(*server(scene), *flags)
    assert code == 1
    assert says in err
    assert "Traceback" not in err
    assert scene.records == []


async def test_a_user_without_a_password_is_a_mistake_in_the_flags(scene: Scene) -> None:
    code, _, err = await send(*server(scene), "--to", "you@far.example", "--user", "shop")
    assert code == 2
    assert "POSTROAD_PASSWORD" in err


async def test_a_server_that_is_not_there(scene: Scene) -> None:
    code, _, err = await send("--server", "127.0.0.1:1", "--to", "you@far.example")
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert "cannot talk to 127.0.0.1:1: Connection refused; is the relay running?" in err


async def test_long_addresses_do_not_end_the_header(scene: Scene) -> None:
    long = f"{'x' * 60}@{'y' * 60}.example"
    code, _, err = await send(*server(scene), "--to", long, "--to", "you@far.example")
    assert code == 0, err
    assert f"To: {long}, you@far.example\r\n".encode() in await scene.body()


@pytest.mark.parametrize("farewell", [b"250 ok\r\n", b"421 4.3.2 no\r\n", b"what\r\n", HANG_UP])
async def test_a_message_that_was_taken_is_a_success_whatever_is_said_to_quit(
    farewell: bytes,
) -> None:
    def script(line: bytes, count: int) -> bytes | None:
        return farewell if line.upper().startswith(b"QUIT") else None

    async with ScriptedMx(script) as mx:
        where = ("--server", f"127.0.0.1:{mx.port}", "--from", "me@x.example")
        code, out, err = await send(*where, "--to", "you@far.example")
        assert len(await mx.received(1)) == 1
    assert (code, err) == (0, "")
    assert out.startswith("250 ")


@pytest.mark.parametrize("refused", [b".", b"RCPT"])
@pytest.mark.parametrize("flags", [(), ("--json",)])
async def test_a_server_s_reply_does_not_steer_the_terminal(
    refused: bytes, flags: tuple[str, ...]
) -> None:
    reply = "550 5.1.1 \x1b[2J \u202etxt.exe \x7f\r\n"
    if refused == b".":
        reply = reply.replace("550 5.1.1", "250 2.0.0")

    def script(line: bytes, count: int) -> bytes | None:
        return reply.encode() if line.upper().startswith(refused) else None

    async with ScriptedMx(script) as mx:
        to = ("--server", f"127.0.0.1:{mx.port}", "--from", "me@x.example", "--to", "b@x.example")
        _, out, err = await send(*to, *flags)
    shown = (out + err).replace("\n", "")
    assert "202e" in shown
    assert shown.isprintable()
