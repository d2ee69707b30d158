"""
Follows the published configuration in a process, and publishes it.

A process of the data plane runs one `Configuration` for its whole life, and reads `current` for
each decision: a frozen Snapshot, replaced as a whole. Until the first non-empty configuration is
there, `current` is None and ingress answers 421. An object that cannot be read is reported and
ignored; it does not stop the process from following.
"""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

from postroad.policy.codec import EntryEncoder
from postroad.policy.model import Entry
from postroad.policy.secrets.seal import Keyrings
from postroad.policy.snapshot import Loaded, Snapshot, SnapshotLoader
from postroad.spool.agreement import ConfigState
from postroad.spool.errors import SpoolError
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

RETRY = timedelta(seconds=1)
ANNOUNCE_TRIES = 5
_SHOWN = 20  # object names in one line of the log


class Configuration:
    """Follows the published configuration and keeps its Snapshot."""

    def __init__(self, spool: Spool, keyrings: Keyrings, *, retry: timedelta = RETRY) -> None:
        self._spool = spool
        self._loader = SnapshotLoader(keyrings)
        self._retry = retry.total_seconds()
        self._loaded = asyncio.Event()
        self._changed = asyncio.Event()
        self.current: Snapshot | None = None
        """The Snapshot in force, None before the first and while the configuration is empty."""
        self._found = asyncio.Event()

    @property
    def published(self) -> bool:
        """Whether a configuration, even an empty one, was found."""
        return self._found.is_set()

    @property
    def lack(self) -> str | None:
        """Why the configuration is not complete, as a sentence for people; None if it is."""
        # An empty configuration is complete: a relay without objects works.
        if not self.published:
            return "no configuration is published"
        if self.current is not None and self.current.stale:
            return "configured objects cannot be read: the log names them"
        return None

    async def wait_published(self) -> None:
        """Wait until a configuration, even an empty one, was found."""
        await self._found.wait()

    async def wait_loaded(self) -> Snapshot:
        """Wait for a Snapshot to be in force, and return it."""
        while self.current is None:
            await self._loaded.wait()
        return self.current

    async def changed(self) -> None:
        """Wait until the Snapshot in force changes, or becomes None."""
        await self._changed.wait()

    async def run(self) -> None:
        """Follow until cancelled, whatever fails in the queue or in the entries."""
        while True:
            try:
                async for state in self._spool.config.follow():
                    await self._apply(state)
            except SpoolError as error:
                log.warning("configuration cannot be followed for now", error=str(error))
            except Exception:
                # An unknown error counts as temporary: keep the Snapshot, and follow again.
                log.exception("following the configuration failed")
            await asyncio.sleep(self._retry)

    async def _apply(self, state: ConfigState) -> None:
        loaded = self._loader.load(state.generation, state.entries)
        self.current = loaded.snapshot if state.entries else None
        self._found.set()
        if self.current is not None:
            self._loaded.set()
        else:
            self._loaded.clear()
        self._changed.set()
        self._changed = asyncio.Event()
        self._tell(loaded)
        await self._announce(loaded.snapshot)

    def _tell(self, loaded: Loaded) -> None:
        changes = [f"+{key}" for key in loaded.added]
        changes += [f"~{key}" for key in loaded.changed]
        changes += [f"-{key}" for key in loaded.removed]
        more = [f"and {len(changes) - _SHOWN} more"] if len(changes) > _SHOWN else []
        log.info(
            "configuration in force",
            generation=loaded.snapshot.generation,
            count=len(loaded.entries),
            objects=" ".join(changes[:_SHOWN] + more),
        )
        for key, reason in loaded.unreadable.items():
            log.error("configured object cannot be read", objects=key, reason=reason)

    async def _announce(self, snapshot: Snapshot) -> None:
        for _ in range(ANNOUNCE_TRIES):
            try:
                await self._spool.sessions.announce(snapshot.generation, stale=snapshot.stale)
                return
            except SpoolError as error:
                log.warning("generation cannot be announced for now", error=str(error))
                await asyncio.sleep(self._retry)


async def publish_objects(
    spool: Spool,
    entries: Mapping[str, Entry],
    keyrings: Keyrings,
    *,
    encoder: EntryEncoder | None = None,
) -> int:
    """
    Publish objects by their keys, secrets sealed; return the generation in force.

    Only changed entries are written. A caller that publishes often passes the same encoder again,
    which caches the encoded entries. Raises SpoolUnavailable; a second call completes the work.
    """
    encoder = encoder or EntryEncoder(keyrings)
    return await spool.config.publish(encoder.encode(entries))
