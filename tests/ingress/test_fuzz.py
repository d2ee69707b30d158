"""Arbitrary input to ingress: every reply is well-formed, and the server keeps running."""

import asyncio
import re
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroad.testing.processes.ingress import MANIFESTS, Scene, start_ingress
from postroad.testing.streams import hang_up

REPLY = re.compile(r"[245]\d\d[ -]([245])\.\d{1,3}\.\d{1,3} \S|250[ -]|354 |334 ")

words = st.sampled_from(
    [
        *("EHLO", "HELO", "MAIL FROM:", "RCPT TO:", "RSET", "NOOP", "VRFY", "HELP", "AUTH PLAIN"),
        *("<me@near.example>", "<you@far.example>", "<>", "<", ">", "@", '"', "\\", "=", "SIZE=1"),
        *(" ", "\t", "BODY=8BITMIME", "SMTPUTF8", "[127.0.0.1]", "\0", "é", "\x7f", "x" * 300),
    ]
)
command = st.one_of(
    st.lists(words, max_size=6).map(lambda parts: "".join(parts).encode()),
    st.binary(max_size=60).map(lambda octets: octets.replace(b"\r", b"").replace(b"\n", b"")),
)


class Fuzzed:
    """An ingress in a loop of its own, for tests that are not coroutines."""

    def __init__(self, runner: asyncio.Runner, scene: Scene) -> None:
        self._runner = runner
        self._scene = scene

    def send(self, octets: bytes) -> list[str]:
        """Open a session, send octets, and return all replies."""
        return self._runner.run(self._send(octets))

    async def _send(self, octets: bytes) -> list[str]:
        peer = await self._scene.peer()
        try:
            return await peer.all_replies(octets)
        finally:
            self._scene.peers.remove(peer)
            await hang_up(peer.writer)


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fuzzed]:
    folder = tmp_path_factory.mktemp("fuzz")
    with asyncio.Runner() as runner:
        scene = runner.run(start_ingress(tls=folder / "tls", insecure_auth=True, errors=1000))
        runner.run(scene.configure(MANIFESTS, folder))
        yield Fuzzed(runner, scene)
        runner.run(scene.end())


@settings(max_examples=60, deadline=None)
@given(commands=st.lists(command.filter(lambda line: not line.upper().startswith(b"DATA"))))
def test_every_reply_to_anything_has_a_status_and_the_server_lives_on(
    fuzzed: Fuzzed, commands: list[bytes]
) -> None:
    replies = fuzzed.send(b"".join(line + b"\r\n" for line in commands))
    for reply in replies:
        for line in reply.splitlines():
            assert REPLY.match(line), line
            assert "Traceback" not in line
            assert "postroad." not in line
