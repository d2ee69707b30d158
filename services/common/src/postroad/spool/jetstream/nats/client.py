"""
nats-py's client with a hot path of its own for records, their acknowledgements and their ends.

nats-py keeps the connection: servers, passwords, reconnects, pings, whatever is asked now and then.
But it takes a message through two regular expressions, an e-mail parser for its header, a queue and
a task, some 60 µs, and as much again when one is written. Here what is heard by a `Listener` is cut
out of the block it came in and handed over at once, and all that is posted in one turn of the event
loop is one write. Order is kept between both ways, as there is one connection.

It uses private parts of the client (`_ps`, `_pending`, `_pongs`, `_process_msg`,
`_connect_command`, and how much is read at once), so nats-py is pinned;
tests/spool/test_fast_client.py fails where another version is built otherwise.
"""

import asyncio
from collections.abc import Callable, Mapping

from nats.aio import client as nats_client
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

from postroad.mail.valueclass import valueclass
from postroad.spool.jetstream.nats.loopback import KERNEL_TELLS, peer_uid
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_VERSION_LINE = b"NATS/1.0"
_M, _H = ord("M"), ord("H")  # how MSG and HMSG begin, and nothing else the server says
_LINE_ENDS = frozenset("\r\n")
_LARGE = 16 * 1024  # octets whose copy costs more than writing them by themselves
# Most records come whole in one block. nats-py reads 32 KiB, and a record of 100 KiB in four parts.
nats_client.DEFAULT_BUFFER_SIZE = 256 * 1024


@valueclass(frozen=True, slots=True)
class Incoming:
    """A message as it came; its header is read only when somebody asks."""

    subject: str
    reply: str
    header: bytes
    data: bytes

    @property
    def status(self) -> str:
        """The status of the server's own messages, such as "503"; "" of all others."""
        if not self.header:
            return ""
        return self.header[len(_VERSION_LINE) :].partition(b"\r\n")[0].decode().strip()[:3]

    @property
    def description(self) -> str:
        """The words after the status."""
        line = self.header[len(_VERSION_LINE) :].partition(b"\r\n")[0]
        return line.decode("utf-8", "replace").strip()[3:].strip()

    def field(self, name: str) -> str | None:
        """Return a header field's value, None when there is none."""
        start = self.header.find(b"\r\n" + name.encode() + b":")
        if start < 0:
            return None
        value = self.header[start + len(name) + 3 :].partition(b"\r\n")[0]
        return value.decode("utf-8", "replace").strip()

    def fields(self) -> dict[str, str]:
        """
        Return all header fields. Of several of one name the last counts.

        The server adds its own fields, such as the sequence of a stored message, behind those that
        the message brought.
        """
        lines = self.header.decode("utf-8", "replace").split("\r\n")[1:]
        parted = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, colon, value in parted if colon}


Listener = Callable[[Incoming], None]


def header_of(fields: Mapping[str, str]) -> bytes:
    """Return header fields as they are written; ValueError for a line end in one."""
    lines = [_VERSION_LINE]
    for name, value in fields.items():
        if not _LINE_ENDS.isdisjoint(value):
            raise ValueError(f"a line end in the header field {name}")
        lines.append(f"{name}: {value}".encode())
    return b"\r\n".join([*lines, b"", b""])


class Listening:
    """A subscription of a Listener's."""

    def __init__(self, client: "FastClient", subscription: Subscription, sid: int) -> None:
        self._client = client
        self._subscription = subscription
        self._sid = sid

    async def unsubscribe(self) -> None:
        """Hear nothing more; nats.errors.Error, OSError or ValueError when that cannot be said."""
        self._client.listeners.pop(self._sid, None)
        await self._subscription.unsubscribe()


class FastClient(Client):
    """The client: `listen` and `post` beside nats-py's subscribe and publish."""

    def __init__(self, *, server_uid: int | None = None) -> None:
        """With `server_uid` no server learns anything that another user of this machine runs."""
        super().__init__()
        self._server_uid = server_uid
        self.listeners: dict[int, Listener] = {}
        self._ps = _FastParser(self)
        self._write_due = False

    async def _attempt_reconnect(self) -> None:
        """
        Drop the connection that is lost, then connect again as nats-py does.

        It would close it, and wait until what was written has left. To a server that is gone
        without a word that is a quarter of an hour, in which no other is tried.
        """
        self.drop()
        await super()._attempt_reconnect()

    def drop(self) -> None:
        """Close the connection at once, whatever has not left."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    def _connect_command(self) -> bytes:
        """
        Return what tells a server who we are, token or password included.

        nats-py asks for it when the server has greeted, at each connect and reconnect.
        """
        if self._server_uid is not None and KERNEL_TELLS:
            self._check_server(self._server_uid)
        return super()._connect_command()

    def _check_server(self, uid: int) -> None:
        """Raise OSError unless the server is a program of this user of this machine."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is None or (peer := writer.get_extra_info("peername")) is None:
            raise OSError("the connection was lost")
        own = writer.get_extra_info("sockname")
        if len(peer) == 2 and peer_uid(own, peer) == uid:  # of two parts: IPv4
            return
        self.drop()
        raise OSError(f"what listens on {peer[0]} port {peer[1]} is another user's")

    async def _process_pong(self) -> None:
        """
        Take the server's answer to a PING.

        Whoever asked may have stopped waiting: nats-py would fail on that and hear nothing more.
        """
        if self._pongs and self._pongs[0].done():
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def listen(self, subject: str, listener: Listener) -> Listening:
        """Call `listener` with each message, as it is read; it must not raise, nor wait."""
        sid = self._sid + 1  # the one that subscribe takes, before it waits for anything
        self.listeners[sid] = listener
        try:
            subscription = await self.subscribe(subject, cb=_nobody)
        except BaseException:
            del self.listeners[sid]
            raise
        return Listening(self, subscription, sid)

    def post(self, subject: str, payload: bytes, *, reply: str = "", header: bytes = b"") -> None:
        """
        Write a message with the others of this turn of the loop; OSError without a connection.

        `header` is as `header_of` returns it. The caller sees to it that the whole is not over
        `max_payload`: the server would close the connection.
        """
        if not self.is_connected:
            raise OSError("not connected to NATS")
        size = len(header) + len(payload)
        place = f"{subject} {reply} " if reply else f"{subject} "
        line = f"HPUB {place}{len(header)} {size}\r\n" if header else f"PUB {place}{size}\r\n"
        if len(payload) < _LARGE:
            self._pending.append(b"".join((line.encode(), header, payload, b"\r\n")))
        else:
            self._pending += (line.encode() + header, payload, b"\r\n")
        self._pending_data_size += len(line) + size + 2
        self.stats["out_msgs"] += 1
        self.stats["out_bytes"] += size
        if not self._write_due:
            self._write_due = True
            asyncio.get_running_loop().call_soon(self._write_now)

    def _write_now(self) -> None:
        self._write_due = False
        # Without a connection it stays where nats-py writes it from when there is one again.
        if not self._pending or not self.is_connected or not self._transport:
            return
        pending, self._pending, self._pending_data_size = self._pending, [], 0
        try:
            self._transport.writelines(pending)
        except (OSError, RuntimeError) as error:
            # The connection is going: its reader hears of it too, and connects again.
            log.debug("nothing can be written to NATS", error=str(error))

    def hear(self, sid: int, message: Incoming) -> bool:
        """Hand a message to its listener; return whether it has one."""
        listener = self.listeners.get(sid)
        if listener is None:
            return False
        try:
            listener(message)
        except Exception:  # else nothing would be read from this connection any more
            log.exception("a message from NATS could not be taken", reason=message.subject)
        return True

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        # What nats-py's own parser has cut out: the rest of a message that it had begun.
        if sid in self.listeners:
            self.hear(sid, Incoming(subject.decode(), reply.decode(), headers or b"", data))
            return
        await super()._process_msg(sid, subject, reply, data, headers)


async def _nobody(_: Msg) -> None:
    """Hear nothing: messages of this subscription go to its listener."""


class _FastParser(Parser):
    """Cuts whole messages out of what was read; all else is nats-py's."""

    def __init__(self, client: FastClient) -> None:
        super().__init__(client)
        self._client = client

    async def parse(self, data: bytes = b"") -> None:
        """Take what was read."""
        if self.state != AWAITING_CONTROL_LINE:
            await super().parse(data)
            return
        buffer = self.buf
        if not buffer:
            # Nearly always a block is some whole messages: they are cut from it as it is.
            leased = await self._take_messages(data)
            if leased == len(data) or buffer is not self.buf:
                return
            data = data[leased:]
        buffer += data
        while buffer:
            leased = await self._take_messages(buffer)
            del buffer[:leased]
            # All is taken; or the rest of a message is still to come; or there is a new connection.
            if not buffer or buffer[0] in (_M, _H) or buffer is not self.buf:
                return
            before = len(buffer)
            await super().parse()
            buffer = self.buf
            if len(buffer) == before or self.state != AWAITING_CONTROL_LINE:
                return

    async def _take_messages(self, octets: bytes | bytearray) -> int:
        """Hand over every whole message that these octets begin with; return how many they were."""
        try:
            with memoryview(octets) as view:
                return await self._cut(octets, view)
        except ValueError as error:
            raise ProtocolError("nats: malformed MSG") from error

    async def _cut(self, octets: bytes | bytearray, view: memoryview) -> int:
        position, end_of_octets = 0, len(octets)
        while position < end_of_octets and octets[position] in (_M, _H):
            line_end = octets.find(b"\r\n", position)
            if line_end < 0:
                break
            # MSG <subject> <sid> [reply] <size>, HMSG <subject> <sid> [reply] <header> <size>
            words = octets[position:line_end].decode().split()
            with_header = words[0] == "HMSG"
            body = line_end + 2
            end = body + int(words[-1])
            if end + 2 > end_of_octets:
                break
            middle = body + int(words[-2]) if with_header else body
            reply = words[3] if len(words) == (6 if with_header else 5) else ""
            header, payload = bytes(view[body:middle]), bytes(view[middle:end])
            position = end + 2
            sid = int(words[2])
            if not self._client.hear(sid, Incoming(words[1], reply, header, payload)):
                await self._client._process_msg(
                    sid, words[1].encode(), reply.encode(), payload, header
                )
        return position
