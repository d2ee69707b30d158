"""What `postroad up` logs about its manifests while they are edited."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from postroad.cli.standalone.manifests import FollowedManifests
from postroad.manifests.files import pieces as source_pieces
from postroad.policy import codec
from postroad.spool.errors import RecordTooLarge, SpoolError, SpoolUnavailable
from postroad.spool.memory.agreement import Agreement, MemoryConfig
from postroad.spool.memory.spool import MemorySpool
from postroad.testing.keys import keyrings
from postroad.testing.patience import patient

CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: {0}}}
spec: {{networks: ["{1}"], senders: ["*@{0}.example"]}}
---
"""
GOOD = CLIENT.format("near", "10.0.0.0/8")
WRONG = CLIENT.format("near", "10.0.0.0/99")
OTHER = CLIENT.format("other", "10.1.0.0/16")


def rewrite(conf: Path) -> None:
    (conf.parent / "real" / "m.yaml").write_text(OTHER)


def put_another_in_its_place(conf: Path) -> None:
    """As editors and configuration management do."""
    new = conf.parent / "real" / ".m.yaml.new"
    new.write_text(OTHER)
    new.rename(conf.parent / "real" / "m.yaml")


def add_one(conf: Path) -> None:
    (conf.parent / "real" / "more.yaml").write_text(OTHER)


def swap_data(conf: Path) -> None:
    """As the kubelet updates a ConfigMap volume."""
    (conf / "..2" / "inner").mkdir(parents=True, exist_ok=True)
    (conf / "..2" / "inner" / "m.yaml").write_text(OTHER)
    (conf / "..data_tmp").symlink_to("..2")
    (conf / "..data_tmp").rename(conf / "..data")


@pytest.mark.parametrize(
    ("links", "edit"),
    [
        ({"m.yaml": "../real/m.yaml"}, rewrite),
        ({"m.yaml": "../real/m.yaml"}, put_another_in_its_place),
        ({"folder": "../real"}, rewrite),
        ({"folder": "../real"}, put_another_in_its_place),
        ({"folder": "../real"}, add_one),
        ({"..data": "..1", "m.yaml": "..data/inner/m.yaml"}, swap_data),
        ({"..data": "..1", "folder": "..data/inner"}, swap_data),
    ],
)
@pytest.mark.parametrize("named", ["the folder", "what is in it"])
async def test_an_edit_behind_a_symbolic_link_is_applied(
    links: dict[str, str], edit: Callable[[Path], None], named: str, tmp_path: Path
) -> None:
    conf = tmp_path / "conf"
    for folder in (tmp_path / "real", conf / "..1" / "inner"):
        folder.mkdir(parents=True)
        (folder / "m.yaml").write_text(GOOD)
    for name, target in links.items():
        (conf / name).symlink_to(target)
    paths = [conf] if named == "the folder" else [conf / list(links)[-1]]
    manifests = FollowedManifests(paths, MemorySpool(), keyrings())
    await manifests.publish_first()
    edit(conf)
    watching = asyncio.create_task(manifests.watch())
    try:
        async with asyncio.timeout(patient(20)):
            while "client.default.other" not in manifests.in_force.entries:
                await asyncio.sleep(0.2)
                if named != "the folder":
                    edit(conf)  # again: perhaps it was not watched yet
    finally:
        watching.cancel()


@pytest.mark.parametrize(
    ("edited", "level", "said", "generation"),
    [
        (GOOD + OTHER, "info", "manifests published", 2),
        (GOOD + "# a word\n", "info", "manifests edited, but no object has changed", 1),
        (
            WRONG,
            "warning",
            "manifests not published: the changed objects are wrong, their last good form stays",
            1,
        ),
        (
            WRONG + OTHER,
            "warning",
            "manifests published in part: of wrong objects, the last good form stays",
            2,
        ),
    ],
)
async def test_an_edit_is_told_as_what_became_of_it(
    edited: str, level: str, said: str, generation: int, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(GOOD)
    manifests = FollowedManifests([file], MemorySpool(), keyrings())
    await manifests.publish_first()
    [in_force] = manifests.in_force.entries.values()
    with capture_logs() as lines:
        watching = asyncio.create_task(manifests.watch())
        try:
            async with asyncio.timeout(patient(20)):
                while not any(line["event"].startswith("manifests") for line in lines):
                    file.write_text(edited)  # again: perhaps the file was not watched yet
                    await asyncio.sleep(0.2)
        finally:
            watching.cancel()
    assert in_force in manifests.in_force.entries.values()
    told = next(line for line in lines if line["event"].startswith("manifests"))
    assert (told["event"], told["log_level"], told["generation"]) == (said, level, generation)
    wrong = [line["reason"] for line in lines if line["event"].startswith("a manifest is wrong")]
    assert bool(wrong) == edited.startswith(WRONG)
    assert all("m.yaml:4: spec.networks[0]: " in reason for reason in wrong)


async def test_what_is_published_is_put_right_without_an_edit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A nats-server that was killed may bring back what was removed."""
    monkeypatch.setattr(f"{FollowedManifests.__module__}._MENDED_EVERY", 0.05)
    file = tmp_path / "m.yaml"
    file.write_text(GOOD)
    spool = MemorySpool()
    manifests = FollowedManifests([file], spool, keyrings())
    await manifests.publish_first()
    published = await spool.config.last()
    assert published is not None
    await spool.config.publish({**published.entries, "client.default.gone": b"back"})
    watching = asyncio.create_task(manifests.watch())
    try:
        async with asyncio.timeout(patient(20)):
            async for state in spool.config.follow():
                if state.entries == published.entries:
                    break
    finally:
        watching.cancel()


def counted(monkeypatch: pytest.MonkeyPatch, module: object, name: str) -> list[object]:
    """Note what a function is called with first."""
    heard: list[object] = []
    really: Callable[..., object] = getattr(module, name)

    def noted(*arguments: object) -> object:
        heard.append(arguments[0])
        return really(*arguments)

    monkeypatch.setattr(module, name, noted)
    return heard


async def test_an_edit_reads_and_encodes_only_what_it_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = counted(monkeypatch, source_pieces, "read_documents")
    encoded = counted(monkeypatch, codec, "encode_entry")
    file = tmp_path / "m.yaml"
    clients = [CLIENT.format(f"c{number}", "10.0.0.0/8") for number in range(30)]
    file.write_text("".join(clients).removesuffix("---\n"))
    manifests = FollowedManifests([file], MemorySpool(), keyrings())
    await manifests.publish_first()
    assert (len(read), len(encoded)) == (30, 30)
    clients[7] = CLIENT.format("c7", "10.1.0.0/16")
    before = manifests.in_force
    watching = asyncio.create_task(manifests.watch())
    try:
        async with asyncio.timeout(patient(20)):
            while manifests.in_force is before:
                # Again: perhaps it was not watched yet. And whole: half a file is another edit.
                another = tmp_path / "written"
                another.write_text("".join(clients).removesuffix("---\n"))
                another.replace(file)
                await asyncio.sleep(0.2)
    finally:
        watching.cancel()
    assert len(read[30:]) == 1
    assert encoded[30:] == ["client.default.c7"]


class Refusing(MemoryConfig):
    """A queue that refuses what has a certain object in it, and keeps count."""

    def __init__(self, error: SpoolError) -> None:
        super().__init__(Agreement())
        self.error = error
        self.refused = asyncio.Event()
        self.tries = 0

    async def publish(self, entries: Mapping[str, bytes]) -> int:
        if "client.default.other" in entries:
            self.tries += 1
            self.refused.set()
            raise self.error
        return await super().publish(entries)


@pytest.mark.parametrize(
    ("error", "once"),
    [(RecordTooLarge("client.default.other"), True), (SpoolUnavailable("no answer"), False)],
)
async def test_an_edit_that_is_not_taken_does_not_hold_up_the_next(
    error: SpoolError, once: bool, tmp_path: Path
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(GOOD)
    spool = MemorySpool()
    config = spool.config = Refusing(error)
    manifests = FollowedManifests([file], spool, keyrings())
    await manifests.publish_first()
    with capture_logs() as lines:
        watching = asyncio.create_task(manifests.watch())
        try:
            async with asyncio.timeout(patient(30)):
                file.write_text(GOOD + OTHER)
                await config.refused.wait()
                file.write_text(GOOD + CLIENT.format("third", "10.2.0.0/16"))
                while "client.default.third" not in manifests.in_force.entries:
                    await asyncio.sleep(0.1)
        finally:
            watching.cancel()
    assert "client.default.other" not in manifests.in_force.entries
    told = [line for line in lines if line["event"].startswith("manifests cannot be published")]
    assert told[0]["error"] == str(error)
    assert not once or (config.tries, len(told)) == (1, 1)
