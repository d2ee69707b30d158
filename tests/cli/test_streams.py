"""What a command does whose output lacks characters, or is closed."""

import asyncio
import json
import os
import shlex
import sys

import pytest

from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.testing.patience import patient
from postroad.testing.queue.nats_server import NatsServer
from postroad_harness.waiting_mail import Said, put

STRANGER = "jürgen\N{GRINNING FACE}@x.example"


async def run(words: str, server: NatsServer, *, redirected: str = "", **more: str) -> Said:
    """Run a command through a shell, which can close its streams."""
    command = f"exec {shlex.quote(sys.executable)} -m postroad.cli {words} {redirected}"
    process = await asyncio.create_subprocess_shell(
        command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "POSTROAD_NATS_URL": server.url, "COLUMNS": "200", **more},
    )
    out, err = await asyncio.wait_for(process.communicate(), patient(30))
    return process.returncode or 0, out.decode("latin-1"), err.decode("latin-1")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_a_stranger_s_characters_keep_nobody_from_the_queue(
    encoding: str, server: NatsServer, spool: JetStreamSpool
) -> None:
    await put(spool, STRANGER)
    code, out, err = await run("queue list -o wide", server, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert STRANGER.encode(encoding, "backslashreplace").decode(encoding) in out

    code, out, err = await run("queue list --json", server, PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert json.loads(out)["recipients"][0]["address"] == STRANGER


@pytest.mark.parametrize(
    "words", ["--version", "--help", "queue list", "queue list --json", "queue orders"]
)
async def test_a_closed_output_is_one_sentence(
    words: str, server: NatsServer, spool: JetStreamSpool
) -> None:
    await put(spool, STRANGER)
    code, _, err = await run(words, server, redirected=">&-")
    assert err == "postroad: the output cannot be written: Bad file descriptor\n"
    assert code == 1


@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-"])
async def test_a_command_needs_no_error_output(
    closed: str, server: NatsServer, spool: JetStreamSpool
) -> None:
    await put(spool, STRANGER)
    code, out, _ = await run("queue list --json", server, redirected=closed)
    assert code == 0
    assert json.loads(out)
    code, out, _ = await run("queue list --limit x", server, redirected=closed)
    assert (code, out) == (2, "")


async def test_a_message_from_a_closed_input_is_not_sent(server: NatsServer) -> None:
    words = "send --server 127.0.0.1:1 --to b@x.example --file -"
    code, _, err = await run(words, server, redirected="<&-")
    assert err == "postroad: cannot read -: Bad file descriptor\n"
    assert code == 1
