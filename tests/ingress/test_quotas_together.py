"""Several Quotas for one message: each counts accepted mail, whether held or not."""

import asyncio
from datetime import timedelta

import pytest

from postroad.acceptance import quotas
from postroad.spool.memory.spool import MemoryCluster
from postroad.testing.processes.ingress import MANIFESTS, OpenScene, Scene

OWN, ALL = "{sender: {match: me@near.example}}", "{namespace: default}"


def quota(name: str, subject: str, limit: int, action: str) -> str:
    return f"""---
apiVersion: postroad.dev/v1alpha1
kind: Quota
metadata: {{name: {name}}}
spec: {{subject: {subject}, limits: [{{recipients: {limit}, per: 31d}}], onExceeded: {action}}}
"""


def with_quotas(*written: str) -> str:
    return MANIFESTS + "".join(written)


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take what is refused as used up at once, as if nobody had taken a slice for 12 s."""
    monkeypatch.setattr(quotas, "SETTLED", timedelta())


async def send(scene: Scene, *to: str, sender: str = "me@near.example") -> str:
    peer = await scene.peer()
    await peer.envelope(sender, *to)
    reply = await peer.message()
    await peer.say("QUIT")
    return reply[:4]


def held(scene: Scene) -> list[bool]:
    return [record.hold is not None for record in scene.records]


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(("hold", "reject"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize(("holding", "refusing"), [(OWN, ALL), (ALL, OWN), (ALL, ALL)])
async def test_what_one_quota_holds_counts_against_all_others_of_the_cluster(
    open_scene: OpenScene, hold: str, reject: str, holding: str, refusing: str
) -> None:
    cluster = MemoryCluster()
    written = with_quotas(
        quota(hold, holding, 4, "Hold"),
        quota(reject, refusing, 11, "Reject"),
    )
    scenes = [await open_scene(written, cluster=cluster) for _ in range(3)]

    async def send_many(scene: Scene) -> list[str]:
        return [await send(scene, "b@far.example", "c@further.example") for _ in range(4)]

    replies = [r for many in await asyncio.gather(*map(send_many, scenes)) for r in many]
    # Who asks at the same moment may leave another one too little, which hears 451 then.
    while (reply := await send(scenes[0], "b@far.example", "c@further.example")) != "550 ":
        replies.append(reply)
        assert replies.count("250 ") <= 5
        await asyncio.sleep(0.05)
    assert replies.count("250 ") == 5
    assert await send(scenes[1], "b@far.example") == "250 "
    assert await send(scenes[2], "b@far.example") == "550 "
    assert sum(len(record.recipients) for record in scenes[0].records) == 11
    assert held(scenes[0]).count(False) == 4


@pytest.mark.usefixtures("settled")
async def test_what_one_quota_refuses_counts_against_no_other(open_scene: OpenScene) -> None:
    written = with_quotas(quota("a", ALL, 3, "Hold"), quota("b", OWN, 1, "Reject"))
    scene = await open_scene(written)
    assert [await send(scene, "b@far.example") for _ in range(4)] == ["250 "] + ["550 "] * 3
    others = [await send(scene, "b@far.example", sender="you@near.example") for _ in range(3)]
    assert others == ["250 "] * 3
    assert held(scene) == [False] * 3 + [True]


@pytest.mark.usefixtures("settled")
async def test_what_would_be_held_and_is_not_stored_counts_nowhere(open_scene: OpenScene) -> None:
    written = with_quotas(quota("a", OWN, 1, "Hold"), quota("b", ALL, 2, "Reject"))
    scene = await open_scene(written)
    assert await send(scene, "b@far.example") == "250 "
    scene.spool.store.full = True
    assert [await send(scene, "b@far.example") for _ in range(3)] == ["452 "] * 3
    scene.spool.store.full = False
    assert [await send(scene, "b@far.example") for _ in range(2)] == ["250 ", "550 "]
    assert held(scene) == [False, True]


@pytest.mark.parametrize(("own", "shared"), [("a", "b"), ("b", "a")])
@pytest.mark.parametrize("narrow", [True, False])
async def test_who_is_refused_keeps_nobody_else_from_sending(
    open_scene: OpenScene, own: str, shared: str, narrow: bool
) -> None:
    """What was leased for a message that another quota refuses is there for others at once."""
    subjects = (OWN, ALL) if narrow else (ALL, OWN)
    cluster = MemoryCluster()
    written = with_quotas(
        quota(own, subjects[0], 2, "Defer"),
        quota(shared, subjects[1], 3, "Defer"),
        quota("c", "{senderDomain: near.example}", 3, "Defer"),
    )
    one, other = [await open_scene(written, cluster=cluster) for _ in range(2)]
    assert await send(one, "b@far.example") == "250 "
    assert await send(one, "b@far.example", "c@far.example") == "451 "
    used = sorted(cluster.agreement.usage.values())
    assert used == [1, 1, 1]
    if narrow:
        sent = await send(other, "b@far.example", "c@far.example", sender="you@near.example")
        assert sent == "250 "
