"""Where mail goes and what is left of it, for tests of a whole delivery process."""

from datetime import timedelta

from postroad.policy.model import (
    EgressPath,
    RetrySchedule,
    SiteLimits,
    Smarthost,
    TlsMode,
)
from postroad.spool.memory.spool import MemorySpool
from postroad.spool.selection import Selection, WaitKind
from postroad.testing.peers.mx import ScriptedMx

QUICK = RetrySchedule(first=timedelta(seconds=1), longest=timedelta(seconds=1))
LATER = RetrySchedule(first=timedelta(hours=1))


def to_smarthost(
    mx: ScriptedMx | int, retry: RetrySchedule = LATER, **limits: object
) -> EgressPath:
    port = mx if isinstance(mx, int) else mx.port
    return EgressPath(
        f"relay:shop/{port}",
        (Smarthost("127.0.0.1", port),),
        tls=TlsMode.NONE,
        retry=retry,
        limits=SiteLimits(**limits),  # type: ignore[arg-type]
    )


async def waiting(spool: MemorySpool) -> list[WaitKind]:
    return [queued.kind async for queued in spool.waiting.list(Selection())]
