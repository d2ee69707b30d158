"""What cannot be read is in no listing, but a deletion may mean it."""

import nats
import pytest

from postroad.spool.ids import new_queue_id
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.jetstream.streams.subjects import intake_subject
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now, record
from postroad_harness.waiting_mail import Run, obeyed, rows

pytestmark = pytest.mark.nats


async def store_malformed(server: NatsServer) -> None:
    """Store what no release writes, as a compromised ingress may."""
    client = await nats.connect(server.url)
    for number in range(3):
        mail = record(new_queue_id(now(), number), "a@evil.example")
        await client.jetstream().publish(intake_subject(number, mail, "p00"), b"no record")
    await client.close()


@pytest.mark.parametrize("which", [("--domain", "evil.example"), ("--all",)])
async def test_a_domain_with_nothing_but_malformed_mail_can_be_deleted(
    spool: JetStreamSpool, run: Run, server: NatsServer, which: tuple[str, ...]
) -> None:
    await store_malformed(server)
    delete = ("queue", "delete", *which)
    _, out, _ = await run(*delete, "--dry-run")
    assert "evil.example  3" in out
    assert out.endswith("delete would change 3 records that cannot be read; nothing was changed.\n")
    _, out, _ = await run(*delete, "--dry-run", "--json")
    [told] = rows(out)
    assert (told["matching"], told["unreadable"]) == (0, 3)
    order, (code, out, _) = await obeyed(spool, run(*delete, "--yes"))
    assert (order.action, code) == ("delete", 0)
    assert out == (
        "delete: 3 records that cannot be read; each is deleted when it is taken."
        " The order stands for an hour.\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("delete", "--domain", "other.example"),
        ("delete", "--client", "news"),
        ("delete", "--domain", "evil.example", "--from", "a@b.example"),
        ("bounce", "--domain", "evil.example"),
    ],
)
async def test_malformed_mail_is_meant_by_no_other_order(
    spool: JetStreamSpool, run: Run, server: NatsServer, words: tuple[str, ...]
) -> None:
    await store_malformed(server)
    code, out, _ = await run("queue", *words, "--yes")
    assert (code, out) == (0, "No message fits; nothing was changed.\n")
    assert list(spool.orders.in_force(now())) == []
