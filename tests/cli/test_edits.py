"""Edits of manifests are followed, however files are written and whatever other files are there."""

import asyncio
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from structlog.testing import capture_logs

from postroad.cli.standalone.edits import Look, next_edit, pause_after
from postroad.cli.standalone.manifests import FollowedManifests
from postroad.manifests.compiler.check import check
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient


def client(name: str) -> str:
    return f"""\
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: {name}}}
spec: {{networks: ["10.0.0.0/8"], senders: ["*@{name}.example"]}}
"""


def of(*paths: Path) -> FollowedManifests:
    return FollowedManifests(paths, MemorySpool(), keyrings())


@contextmanager
def followed(manifests: FollowedManifests) -> Iterator[Callable[[str], "asyncio.Future[None]"]]:
    watching = asyncio.create_task(manifests.watch())

    async def in_force(name: str) -> None:
        async with asyncio.timeout(patient(10)):
            while f"client.default.{name}" not in manifests.in_force.entries:
                assert not watching.done(), watching
                await asyncio.sleep(0.1)

    try:
        yield lambda name: asyncio.ensure_future(in_force(name))
    finally:
        watching.cancel()


async def test_a_name_that_is_not_utf8_ends_nothing(tmp_path: Path) -> None:
    """Nor does it where the file is a manifest, whatever is in it."""
    (tmp_path / "a.yaml").write_text(client("a"))
    manifests = of(tmp_path)
    await manifests.publish_first()
    with followed(manifests) as in_force:
        Path(os.fsdecode(bytes(tmp_path) + b"/Z\xfcrich.txt")).write_text("x")
        (tmp_path / "b.yaml").write_text(client("b"))
        await in_force("b")
        Path(os.fsdecode(bytes(tmp_path) + b"/Z\xfcrich.yaml")).write_text(client("c") + "---\nno")
        await in_force("c")
    [mistake] = manifests.checked.mistakes
    assert mistake.file == f"{tmp_path}/Z\udcfcrich.yaml"


def unlink_and_write(file: Path, text: str) -> None:
    """As install, tar and git do. The new file may get the inode that the old one had."""
    file.unlink()
    file.write_text(text)


def write_folder_anew(file: Path, text: str) -> None:
    shutil.rmtree(file.parent)
    file.parent.mkdir()
    file.write_text(text)


@pytest.mark.parametrize("write", [unlink_and_write, write_folder_anew])
@pytest.mark.parametrize("named", ["file", "folder"])
async def test_files_that_take_the_place_of_others_are_followed(
    write: Callable[[Path, str], None], named: str, tmp_path: Path
) -> None:
    file = tmp_path / "m" / "m.yaml"
    file.parent.mkdir()
    text = client("c0")
    file.write_text(text)
    manifests = of(file if named == "file" else file.parent)
    await manifests.publish_first()
    with followed(manifests) as in_force:
        for name in ("c1", "c2", "c3"):  # a watch may be lost with each
            text += client(name)
            write(file, text)
            await in_force(name)


@pytest.mark.parametrize("where", ["node_modules/b.yaml", "flycheck_b.yaml", "b.yaml~/b.yaml"])
async def test_an_edit_is_seen_wherever_manifests_are_read(where: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(client("a"))
    (tmp_path / where).parent.mkdir(exist_ok=True)
    manifests = of(tmp_path)
    await manifests.publish_first()
    with followed(manifests) as in_force:
        (tmp_path / where).write_text(client("b"))
        await in_force("b")


async def test_what_goes_wrong_with_an_edit_is_told_once_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.yaml").write_text(client("a"))
    manifests = of(tmp_path)
    await manifests.publish_first()
    faults = iter([MemoryError("none is left"), MemoryError("none is left")])

    def failing(*arguments: Any, **named: Any) -> object:
        for fault in faults:
            raise fault
        return check(*arguments, **named)

    monkeypatch.setattr("postroad.cli.standalone.manifests.check", failing)
    with capture_logs() as lines, followed(manifests) as in_force:
        (tmp_path / "b.yaml").write_text(client("b"))
        await in_force("b")
    told = [line["event"] for line in lines if line["log_level"] == "error"]
    assert told == ["edits of the manifests cannot be followed for now"]


async def test_files_are_read_when_they_have_come_to_rest() -> None:
    """Of a folder that is being copied, what is not there yet would count as removed."""
    before, copied = Look({"a": (1,), "b": (1,)}), Look({"a": (2,), "b": (2,)})
    looks = iter([before, Look({}), Look({"a": (2,)}), copied, copied])

    async def look() -> Look:
        return next(looks)

    assert await next_edit(before, look) == copied


def test_many_files_are_looked_at_more_rarely() -> None:
    of_5000, of_few = timedelta(milliseconds=20), timedelta(microseconds=100)
    assert pause_after(of_few) == timedelta(seconds=1)
    assert pause_after(of_5000) == timedelta(seconds=4)


def test_a_stop_does_not_wait_for_who_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, gate, has_read = Event(), Event(), Event()

    def read(*_: object, **__: object) -> None:
        reads.set()
        gate.wait(patient(5))  # a folder on a server that is gone, thousands of files
        has_read.set()

    async def stopped_while_reading() -> None:
        publishing = asyncio.create_task(of(tmp_path).publish_first())
        while not reads.is_set():
            await asyncio.sleep(0.01)
        publishing.cancel()

    monkeypatch.setattr("postroad.cli.standalone.manifests.check", read)
    asyncio.run(stopped_while_reading())
    assert not has_read.is_set()
    gate.set()
