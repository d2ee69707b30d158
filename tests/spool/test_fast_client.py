"""The client's hot path: whole messages, split messages, and what nats-py still handles."""

import asyncio
from collections.abc import AsyncIterator

import nats.errors
import pytest
from nats.aio.msg import Msg

from postroad.spool.jetstream.nats.client import FastClient
from postroad.spool.jetstream.nats.incoming import Incoming, header_of
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.streams import hang_up

pytestmark = pytest.mark.nats


@pytest.fixture
async def client(server: NatsServer) -> AsyncIterator[FastClient]:
    client = FastClient()
    await client.connect(server.url, reconnect_time_wait=1, max_reconnect_attempts=-1)
    yield client
    await client.close()


class Ears:
    """Hears messages, and lets a test wait for so many."""

    def __init__(self) -> None:
        self.heard: list[Incoming] = []
        self._more = asyncio.Event()

    def __call__(self, message: Incoming) -> None:
        self.heard.append(message)
        self._more.set()

    async def until(self, count: int) -> list[Incoming]:
        async with asyncio.timeout(patient(10)):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


async def test_what_is_posted_is_heard_in_order_with_its_header(client: FastClient) -> None:
    ears = Ears()
    await client.listen("t.*", ears)
    header = header_of({"Nats-Msg-Id": "a.0.b", "Other": "x: y"})
    client.post("t.1", b"first\r\nMSG t.9 1 5\r\n", reply="r.1", header=header)
    client.post("t.2", b"")
    client.post("t.3", b"", header=header)
    one, two, three = await ears.until(3)
    assert (one.subject, one.reply, one.data) == ("t.1", "r.1", b"first\r\nMSG t.9 1 5\r\n")
    assert (one.field("Nats-Msg-Id"), one.field("Other"), one.field("No")) == (
        "a.0.b",
        "x: y",
        None,
    )
    assert (two.reply, two.data, two.header, two.status) == ("", b"", b"", "")
    assert (three.data, three.field("Other")) == (b"", "x: y")


@pytest.mark.parametrize("octets", [1, 4096, 16 * 1024 - 20, 100_000, 700_000])
async def test_messages_are_whole_wherever_the_blocks_are_cut(
    client: FastClient, octets: int
) -> None:
    ears = Ears()
    await client.listen("t", ears)
    payloads = [bytes([number]) * (octets + number) for number in range(40)]
    for payload in payloads:
        client.post("t", payload)
        await asyncio.sleep(0)
    assert [message.data for message in await ears.until(40)] == payloads


async def test_any_cut_is_parsed_to_the_same(client: FastClient) -> None:
    ears = Ears()
    client.listeners[7] = ears
    said = (
        b"PING\r\nMSG a.b 7 5\r\nhello\r\n+OK\r\n"
        b"HMSG a.c 7 reply.to 16 19\r\nNATS/1.0 503\r\n\r\nabc\r\n"
        b"MSG nobody 99 2\r\nhi\r\nPING\r\nMSG a.d 7 r 0\r\n\r\n"
    )
    expected = [
        Incoming("a.b", "", b"", b"hello"),
        Incoming("a.c", "reply.to", b"NATS/1.0 503\r\n\r\n", b"abc"),
        Incoming("a.d", "r", b"", b""),
    ]
    for cut in range(1, len(said)):
        ears.heard.clear()
        await client._ps.parse(said[:cut])
        await client._ps.parse(said[cut:])
        assert ears.heard == expected, cut
    ears.heard.clear()
    for octet in said:
        await client._ps.parse(bytes([octet]))
    assert ears.heard == expected
    assert expected[1].status == "503"


@pytest.mark.parametrize("before", [b"", b"PING\r\n", b"+OK\r\n", b"INFO {}\r\n"])
@pytest.mark.parametrize("octet", [0x00, 0x0B, 0x0C, 0x1C, 0x1F, 0x85, 0xFF])
async def test_words_end_at_blanks_and_at_no_other_octet(
    client: FastClient, octet: int, before: bytes
) -> None:
    """Whatever line comes before: nats-py would read the messages after it."""
    ears = Ears()
    client.listeners[7] = ears
    subject = b"a" + bytes([octet]) + b"b"
    said = b"MSG %s 7 5\r\nhello\r\nHMSG %s 7 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n"
    await client._ps.parse(before + said % (subject, subject))
    text = subject.decode("utf-8", "backslashreplace")
    assert ears.heard == [
        Incoming(text, "", b"", b"hello"),
        Incoming(text, "r", b"NATS/1.0\r\n\r\n", b"hi"),
    ]


@pytest.mark.parametrize("octet", [0x0B, 0x1F, 0x85, 0xFF])
async def test_odd_octets_reach_who_subscribes_by_nats_py(
    client: FastClient, server: NatsServer, octet: int
) -> None:
    heard: asyncio.Queue[Msg] = asyncio.Queue()
    await client.subscribe("t.*", cb=heard.put)
    await client.flush()
    host, _, port = server.url.removeprefix("nats://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    await reader.readline()  # what is sent before the server's INFO may be lost
    writer.write(b'CONNECT {"verbose": false}\r\nPUB t.%s 2\r\nhi\r\n' % bytes([97, octet]))
    async with asyncio.timeout(patient(10)):
        assert (await heard.get()).data == b"hi"
    await client.flush()
    assert client.stats["reconnects"] == 0
    await hang_up(writer)


@pytest.mark.parametrize("subject", ["a b", "a\r\nPUB b 0", "a\tb", "a\nb", "a" * 4000])
async def test_what_is_no_subject_is_not_written(client: FastClient, subject: str) -> None:
    with pytest.raises(ValueError, match="not a subject"):
        client.post(subject, b"")


async def test_a_length_that_is_none_ends_the_connection_and_not_the_reader(
    client: FastClient,
) -> None:
    for said in (b"MSG a b c\r\n\r\n", b"MSG\r\n", b"MSG 5\r\nhello\r\n", b"GSM a 7 0\r\n\r\n"):
        client._ps.reset()
        with pytest.raises(nats.errors.ProtocolError):
            await client._ps.parse(said)


async def test_a_status_and_its_words_are_read() -> None:
    said = b"NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 12\r\n\r\n"
    message = Incoming("s", "", said, b"")
    assert (message.status, message.description) == ("408", "Request Timeout")
    assert message.field("Nats-Pending-Messages") == "12"


async def test_what_nats_py_subscribes_to_goes_its_own_way_in_the_same_order(
    client: FastClient,
) -> None:
    heard: list[bytes] = []
    done = asyncio.Event()

    async def slow(message: Msg) -> None:
        heard.append(message.data)
        if message.data == b"last":
            done.set()

    ears = Ears()
    await client.subscribe("slow", cb=slow)
    await client.listen("fast", ears)
    client.post("slow", b"1")
    await client.publish("slow", b"2", headers={"A": "b"})
    client.post("fast", b"3")
    client.post("slow", b"last")
    await asyncio.wait_for(done.wait(), patient(10))
    assert heard == [b"1", b"2", b"last"]
    assert [message.data for message in await ears.until(1)] == [b"3"]


async def test_an_error_in_a_listener_is_logged_and_the_next_message_comes(
    client: FastClient,
) -> None:
    heard: list[bytes] = []
    done = asyncio.Event()

    def broken(message: Incoming) -> None:
        heard.append(message.data)
        if message.data == b"1":
            raise RuntimeError("a bug")
        done.set()

    await client.listen("t", broken)
    client.post("t", b"1")
    client.post("t", b"2")
    await asyncio.wait_for(done.wait(), patient(10))
    assert heard == [b"1", b"2"]


async def test_after_a_restart_of_the_server_what_was_listened_to_is_heard_again(
    client: FastClient, server: NatsServer
) -> None:
    ears = Ears()
    await client.listen("t", ears)
    await server.restart()
    async with asyncio.timeout(patient(20)):
        while not client.is_connected:
            await asyncio.sleep(0.05)
    client.post("t", b"again")
    assert (await ears.until(1))[0].data == b"again"


async def test_without_a_connection_nothing_is_posted(
    client: FastClient, server: NatsServer
) -> None:
    await client.close()
    with pytest.raises(OSError, match="not connected"):
        client.post("t", b"")


async def test_an_answer_that_comes_after_who_asked_has_left_ends_nothing(
    client: FastClient,
) -> None:
    ears = Ears()
    await client.listen("t.*", ears)
    for _ in range(20):
        asking = asyncio.create_task(client.flush())
        await asyncio.sleep(0)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    client.post("t.1", b"still heard")
    assert [each.data for each in await ears.until(1)] == [b"still heard"]


async def test_who_stops_listening_hears_nothing_more(client: FastClient) -> None:
    ears, others = Ears(), Ears()
    listening = await client.listen("t", ears)
    await client.listen("t", others)
    await listening.unsubscribe()
    client.post("t", b"1")
    await others.until(1)
    assert ears.heard == []


@pytest.mark.parametrize("value", ["a\r\nNats-Rollup: all", "a\nb", "a\rb"])
def test_no_value_adds_a_header_field(value: str) -> None:
    with pytest.raises(ValueError, match="line end"):
        header_of({"Nats-Msg-Id": value})


class Cable:
    """Something between client and server that can swallow all, as a node without power does."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ways: list[asyncio.Task[None]] = []
        self._ends: list[asyncio.StreamWriter] = []

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        self._ends += [writer, back]
        for source, target in ((reader, back), (there, writer)):
            self._ways.append(asyncio.create_task(self._carry(source, target)))

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while octets := await source.read(65536):
            target.write(octets)

    def pull(self) -> None:
        """Carry nothing more of the connections there are; neither end is told."""
        for way in self._ways:
            way.cancel()

    def remove(self) -> None:
        self.pull()
        for end in self._ends:
            end.transport.abort()


async def test_a_server_that_is_gone_without_a_word_is_left_at_once(server: NatsServer) -> None:
    """Though what was written to it has not left, and never will."""
    cable, again = Cable(int(server.url.rpartition(":")[2])), asyncio.Event()

    async def tell() -> None:
        again.set()

    client = FastClient()
    async with await asyncio.start_server(cable.join, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        await client.connect(
            f"nats://127.0.0.1:{port}", max_reconnect_attempts=-1, reconnected_cb=tell
        )
        cable.pull()
        for _ in range(40):
            client.post("t", b"x" * 500_000)
        await asyncio.sleep(0)  # they are written
        await client._process_op_err(nats.errors.StaleConnectionError())
        await asyncio.wait_for(again.wait(), patient(10))
        await client.flush()
        await client.close()
        cable.remove()
