"""
What a role may publish has, whatever its headers, no effect on what others have stored.

The headers are those on which nats-server acts, and some that look like its own. They are tried on
each subject that a role may write, on one server and on three.
"""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from postroad.testing.queue.walls import Servers, walled

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"

# For each role the subjects that it may write, one for each stream. Delivery owns the streams
# where mail waits, and bodies of an earlier release: it may end, repeat and move what is there.
WRITES = {
    "ingress": (
        *("pr.i.0.r.default.b.p00.y_example", "pr.e.Reception", "$KV.quotas.x"),
        *("$KV.presence.session.ingress.x", "pr.d.0.x.0"),
    ),
    "delivery": (
        *("pr.e.Delivery", "$KV.presence.session.delivery.x", "$KV.cluster.report.x.y"),
        *("$KV.sites.x", "$KV.suppression.x", "pr.d.0.y.0"),
    ),
    "command": ("$KV.cluster.order.x",),
}
# Others' messages in the same streams.
OTHERS = {
    "ingress": (
        *("pr.i.0.r.default.b.p00.other_example", "pr.e.Rejection", "$KV.quotas.other"),
        *("$KV.presence.session.ingress.other", "pr.d.0.other.0", "pr.d.0.other.last"),
    ),
    "delivery": (
        *("$KV.presence.owner.default.00", "$KV.cluster.report.other.y", "$KV.sites.other"),
        "$KV.suppression.other",
    ),
    "command": ("$KV.cluster.order.other",),
    "operator": ("$KV.config.entry", "$KV.presence.session.operator.other"),
}
HEADERS: list[Mapping[str, str]] = [
    {"Nats-Rollup": "all"},
    {"Nats-Rollup": "sub"},
    {"Nats-Schedule": "@every 1s"},
    {"Nats-Schedule": "@every 1s", "Nats-Schedule-Target": "$KV.config.entry"},
    {"Nats-Scheduler": "other", "Nats-Schedule-Next": "purge"},
    {"Nats-Schedule-Target": "$KV.config.entry"},
    {"Nats-Schedule-Source": "$KV.config.entry"},
    {"Nats-Schedule-TTL": "1s"},
    {"Nats-Schedule-Rollup": "all"},
    {"Nats-Schedule-Time-Zone": "UTC"},
    {"Nats-TTL": "1s"},
    {"Nats-Expected-Last-Sequence": "1"},
    {"Nats-Expected-Last-Subject-Sequence": "1"},
    {"Nats-Expected-Stream": "KV_config"},
    {"Nats-Msg-Id": "other"},
    {"Nats-Batch-Id": "x", "Nats-Batch-Sequence": "1", "Nats-Batch-Commit": "1"},
    {"Nats-Incr": "+1"},
    {"Nats-Stream-Source": "KV_config 1 > >"},
    {"Nats-Marker-Reason": "Purge"},
    {"KV-Operation": "PURGE"},
    {"KV-Operation": "DEL"},
    {"Nats-Subject": "$KV.config.entry"},
    {"Nats-Sequence": "1"},
    {"Nats-Stream": "KV_config"},
    {"Nats-Num-Pending": "0"},
    {"Nats-Pin-Id": "x"},
    {"Nats-Last-Consumer": "1"},
    {"Nats-Request-Info": "{}"},
    {"Nats-Required-Api-Level": "99"},
    {"nats-rollup": "all"},
    {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
    {"Status": "409"},
    {"Status": "404", "Description": "No Messages"},
    {"Nats-Trace-Dest": "$KV.config.entry"},
]


@pytest.fixture(params=[1, 3])
async def servers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Servers]:
    """One server, and three."""
    async with walled(tmp_path, ACCOUNTS, replicas=request.param) as found:
        yield found


async def test_no_header_touches_what_others_have_stored(servers: Servers) -> None:
    for role, subjects in OTHERS.items():
        for subject in subjects:
            await servers.ask(role, subject, "of another", **{"Nats-Msg-Id": subject})
    before = await servers.stored()
    for role, subjects in WRITES.items():
        for subject in subjects:
            for headers in HEADERS:
                await _try(servers, role, subject, headers)
    await servers.until_timers_ran()
    after = await servers.stored()
    lost = {where: what for where, what in before.items() if after.get(where) != what}
    assert lost == {}
    written = {subject for subjects in WRITES.values() for subject in subjects}
    new = {what[0] for where, what in after.items() if where not in before}
    assert new <= written


async def _try(servers: Servers, role: str, subject: str, headers: Mapping[str, str]) -> None:
    """Publish so; a refusal is an answer, and a message may be dropped without one."""
    client = servers.clients[role]
    if "Nats-Trace-Dest" in headers:
        await client.publish(subject, b"mine", headers=dict(headers))
        return
    await servers.ask(role, subject, "mine", **headers)
