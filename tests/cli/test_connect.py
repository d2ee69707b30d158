"""Commands send the token of a running `up` to its own nats-server alone."""

import asyncio
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from postroad.cli.errors import CommandError
from postroad.cli.state.folder import StateFolder, is_up, lock_store, lock_up
from postroad.testing.patience import patient
from postroad_harness.noted_up import noted_up
from postroad_harness.waiting_mail import Run


async def test_without_its_up_a_command_connects_to_nobody(run: Run, tmp_path: Path) -> None:
    """Another user may listen where the last `up` did."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        url = f"nats://127.0.0.1:{listener.getsockname()[1]}"
        with noted_up(tmp_path, url, running=False) as state:
            code, out, err = await run("status", "--state", str(state))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert (code, out) == (1, "")
    assert err.startswith(f"postroad: no relay runs with the state folder {state}; start one with")


# Ten seconds: so long a command tries.
async def test_a_command_tells_another_users_program_nothing(run: Run, tmp_path: Path) -> None:
    told: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'INFO {"version":"2.11.0","headers":true,"auth_required":true}\r\n')
        told.append(await reader.read(4096))
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with noted_up(tmp_path, f"nats://127.0.0.1:{port}", uid=os.geteuid() + 1) as state:
            code, _, err = await run("status", "--state", str(state))
    assert code == 1
    assert f"another user's program listens on 127.0.0.1 port {port}" in err
    assert set(told) == {b""}


def test_a_command_that_looks_for_an_up_keeps_none_from_starting(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    looking = state.up_lock.open("w")
    fcntl.flock(looking, fcntl.LOCK_SH)
    later = threading.Timer(0.1, looking.close)
    later.start()
    lock_up(state)
    later.join(patient(5))
    assert is_up(state)
    with pytest.raises(CommandError, match=f"another `postroad up` .pid {os.getpid()}. runs"):
        lock_up(state)


@pytest.mark.parametrize(("name", "lock"), [("up.lock", lock_up), ("store.lock", lock_store)])
def test_a_lock_that_cannot_be_opened_is_named(
    tmp_path: Path, name: str, lock: Callable[[StateFolder], object]
) -> None:
    (tmp_path / name).mkdir()
    said = f"cannot open {tmp_path / name}: Is a directory; run as"
    with pytest.raises(CommandError, match=said):
        lock(StateFolder(tmp_path))


def test_a_folder_that_may_not_be_read_is_not_taken_for_one_without_a_relay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(CommandError, match="belongs to another user; run the command as the user"):
        is_up(StateFolder(tmp_path))
