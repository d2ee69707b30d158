"""The embedded nats-server: its configuration, its restarts and its end."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest

from postroad.cli.errors import CommandError
from postroad.cli.standalone.nats.config import memory_goal
from postroad.cli.standalone.nats.server import EmbeddedServer
from postroad.cli.state.access import QueueAccess, read_access
from postroad.cli.state.folder import StateFolder, lock_store
from postroad.testing.patience import patient

MIB = 1024 * 1024


async def started(folder: Path) -> tuple[StateFolder, EmbeddedServer, int]:
    """Start a server; return its state folder, the server, and the descriptor of its lock."""
    state = StateFolder(folder / "state")
    state.prepare()
    lock = lock_store(state)
    server = EmbeddedServer(state, store_lock=lock)
    await server.start()
    return state, server, lock


@pytest.mark.parametrize(("physical", "goal"), [(512, 256), (2048, 512), (65536, 1024)])
def test_the_server_aims_at_a_quarter_of_the_memory_within_bounds(physical: int, goal: int) -> None:
    assert memory_goal(physical * MIB) == goal * MIB


@pytest.mark.nats
async def test_a_server_that_hangs_is_killed_while_somebody_waits_for_its_end(
    tmp_path: Path,
) -> None:
    """It takes the four seconds that the server has."""
    state, server, lock = await started(tmp_path)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(patient(10)):
            await server.stop()
    except TimeoutError:
        os.kill(server.pid, signal.SIGKILL)
        raise
    assert not Path(f"/proc/{server.pid}").exists()
    assert not state.server_pid.exists()
    os.close(lock)


@pytest.mark.nats
async def test_a_server_that_stands_still_is_replaced(tmp_path: Path) -> None:
    """It takes the twelve seconds of a look without an answer and of the server's end."""
    _, server, lock = await started(tmp_path)
    stopped = server.pid
    assert stopped is not None
    watching = asyncio.create_task(server.watch(patience=1))
    os.kill(stopped, signal.SIGSTOP)
    try:
        async with asyncio.timeout(patient(30)):
            while server.pid == stopped:
                await asyncio.sleep(0.05)
    finally:
        watching.cancel()
        await server.stop()
        os.close(lock)
    assert not Path(f"/proc/{stopped}").exists()


@pytest.mark.nats
@pytest.mark.parametrize("name", ["Büro", 'a "b" \\ $c', "tab\there"])
async def test_the_state_folder_may_have_any_name(tmp_path: Path, name: str) -> None:
    state = StateFolder(tmp_path / name)
    state.prepare()
    lock = lock_store(state)
    server = EmbeddedServer(state, store_lock=lock)
    try:
        await server.start()
    finally:
        await server.stop()
        os.close(lock)
    assert (state.store / "jetstream").is_dir()
    assert state.server_log.exists()


@pytest.mark.nats
async def test_a_token_is_for_one_start_and_gone_with_it(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    lock = lock_store(state)
    tokens = []
    for _ in range(2):
        server = EmbeddedServer(state, store_lock=lock)
        await server.start()
        access = read_access(state)
        assert access == QueueAccess(server.address.url, server.token, os.geteuid())
        tokens.append(access.token)
        await server.stop()
        assert not state.access.exists()
        assert not state.server_token.exists()
    os.close(lock)
    assert tokens[0] != tokens[1]


@pytest.mark.nats
async def test_what_a_killed_up_left_is_gone_before_the_next_server_starts(tmp_path: Path) -> None:
    state = StateFolder(tmp_path / "state")
    state.prepare()
    state.access.write_text("[]")
    state.server_config.mkdir()  # nats-server will not start
    with pytest.raises(OSError, match=r"nats\.conf"):
        await EmbeddedServer(state, store_lock=-1).start()
    assert not state.access.exists()


@pytest.mark.nats
async def test_a_port_that_another_program_keeps_ends_the_watch(tmp_path: Path) -> None:
    _, server, lock = await started(tmp_path)
    await server.stop()
    port = server.address.port
    with (
        socket.create_server(("127.0.0.1", port)),
        pytest.raises(CommandError, match=f"another program has taken its port {port}"),
    ):
        await asyncio.wait_for(server.watch(port_patience=0.2), patient(10))
    os.close(lock)
