"""
The clients: one connection for each message, which is sent again later if there was no answer.

A message that is sent again gets a new token and counts as another message: only a relay that
answered 250 has promised anything.
"""

import asyncio
import random
from dataclasses import replace

from postroad_harness.simulation.ledger import Ledger
from postroad_harness.simulation.network import Network
from postroad_harness.simulation.scenario import Letter

_PATIENCE = 60.0  # seconds for a reply
_AGAIN = (2.0, 12.0)  # seconds
_TRIES = 4


class _Dialog(asyncio.Protocol):
    """Reads replies."""

    def __init__(self) -> None:
        self._input = b""
        self._replies: asyncio.Queue[str] = asyncio.Queue()

    def data_received(self, data: bytes) -> None:
        self._input += data
        while b"\r\n" in self._input:
            line, _, self._input = self._input.partition(b"\r\n")
            if line[3:4] != b"-":
                self._replies.put_nowait(line.decode())

    def connection_lost(self, error: Exception | None) -> None:
        self._replies.put_nowait("")

    async def reply(self) -> str:
        """Return the next reply, "" when there is none to come."""
        async with asyncio.timeout(_PATIENCE):
            return await self._replies.get()


class Sender:
    """Sends letters in."""

    def __init__(
        self,
        network: Network,
        ingresses: list[tuple[str, int]],
        ledger: Ledger,
        dice: random.Random,
    ) -> None:
        self._network = network
        self._ingresses = ingresses
        self._ledger = ledger
        self._dice = dice

    async def send(self, letter: Letter) -> None:
        """Send a letter until a relay accepts it, or some tries have failed."""
        await asyncio.sleep(letter.at)
        for number in range(_TRIES):
            this_try = replace(letter, token=f"{letter.token}.{number}")
            reply = ""
            try:
                reply = await self._try(this_try)
            except (OSError, TimeoutError):
                pass  # the relay is not there; again later
            self._ledger.note(self._network.time(), "reply", this_try.token, reply[:3])
            if reply.startswith("250"):
                self._ledger.accepted[this_try.token] = (letter.sender, letter.recipients)
                return
            await asyncio.sleep(self._dice.uniform(*_AGAIN))

    async def _try(self, letter: Letter) -> str:
        host, port = self._dice.choice(self._ingresses)
        end, protocol = await self._network.create_connection(_Dialog, host, port)
        assert isinstance(protocol, _Dialog)
        try:
            if not (await protocol.reply()).startswith("220"):
                return ""
            envelope = f"EHLO c.example\r\nMAIL FROM:<{letter.sender}>\r\n"
            envelope += "".join(f"RCPT TO:<{each}>\r\n" for each in letter.recipients)
            end.write(envelope.encode() + b"DATA\r\n")
            for _ in range(len(letter.recipients) + 2):
                if not (await protocol.reply()).startswith("250"):
                    return ""
            if not (await protocol.reply()).startswith("354"):
                return ""
            end.write(_content(letter) + b".\r\n")
            return await protocol.reply()
        finally:
            end.close()


def _content(letter: Letter) -> bytes:
    head = f"X-Token: {letter.token}\r\nSubject: a letter\r\n\r\n".encode()
    line = b"." + b"x" * 70 + b"\r\n"
    return head + (b"." + line) * (letter.size // len(line) + 1)
