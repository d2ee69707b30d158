"""
Reads, compiles and publishes the manifests of `postroad up`, again after each edit.

What is published is put right every minute, as nats-server may have been killed.

An edit may remove any object, but not all of them at once: that is treated as a mistake.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.cli.standalone.edits import Look, look_at, next_edit
from postroad.cli.threads import in_daemon_thread
from postroad.manifests.compiler.check import Checked, check
from postroad.manifests.compiler.result import Compiled
from postroad.manifests.files.reader import ManifestReader
from postroad.operator import metrics
from postroad.policy.codec import EntryEncoder
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.policy.secrets.verifiers import Verifiers
from postroad.policy.snapshot import SnapshotLoader
from postroad.queue.configuration import publish_objects
from postroad.spool.errors import RecordTooLarge, SpoolError
from postroad.spool.interface import Spool
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_RETRY = 1.0  # seconds
_MENDED_EVERY = 60.0  # seconds

_NOTHING_NEW = "manifests edited, but no object has changed"
_WRONG = "manifests not published: the changed objects are wrong, their last good form stays"
_WRONG_IN_PART = "manifests published in part: of wrong objects, the last good form stays"


class FollowedManifests:
    """The files that configure this machine's relay."""

    def __init__(self, paths: Sequence[Path], spool: Spool, keyrings: Keyrings) -> None:
        self._paths = paths
        self._spool = spool
        self._keyrings = keyrings
        self._reader = ManifestReader()
        self._encoder = EntryEncoder(keyrings)
        self._verifiers = Verifiers(keyrings[Reader.INGRESS])
        self._generation = 0
        self._look = Look({})
        self.in_force = Compiled()
        self.checked = Checked((), Compiled())  # the latest result
        self.on_checked: Callable[[], None] = lambda: None

    async def publish_first(self) -> None:
        """Publish the manifests; CommandError lists all mistakes, since nothing runs yet."""
        await self._take_over_verifiers()
        self._look = await self._look_again()
        mistakes, compiled = self.checked = await in_daemon_thread(self._check)
        if mistakes:
            listed = "\n".join(f"  {mistake}" for mistake in mistakes)
            raise CommandError(f"the manifests cannot be used:\n{listed}")
        if not compiled.entries:
            self._warn_of_nothing("until there are some, every client is answered 421")
        await self._publish_once(compiled)
        self.in_force = compiled

    def _warn_of_nothing(self, what_follows: str) -> None:
        named = ", ".join(str(path) for path in self._paths)
        log.warning("no object is configured", reason=f"{named}: {what_follows}")

    async def _take_over_verifiers(self) -> None:
        """Reuse published verifiers: hashing thousands of passwords again would take minutes."""
        last = await self._spool.config.last()
        if last is not None:
            load = SnapshotLoader(self._keyrings).load
            loaded = await in_daemon_thread(load, last.generation, last.entries)
            self._verifiers = Verifiers(
                self._keyrings[Reader.INGRESS], published=loaded.entries.values()
            )

    async def watch(self) -> None:
        """Publish again after each edit; an object that is wrong now keeps its last good form."""
        told = ""
        while True:
            try:
                look = await self._next_edit()
                await self._apply(look)
                self._look = look  # the state before the files were read, so that no edit is missed
                told = ""
            except Exception as error:
                # The configuration in force stays. The log has each cause once, not each second.
                if repr(error) != told:
                    log.exception("edits of the manifests cannot be followed for now")
                    told = repr(error)
                await asyncio.sleep(_RETRY)

    async def _next_edit(self) -> Look:
        """Return the state of the files after the next edit; mend what is published meanwhile."""
        editing = asyncio.create_task(next_edit(self._look, self._look_again))
        try:
            while not (await asyncio.wait((editing,), timeout=_MENDED_EVERY))[0]:
                await self._mend()
            return editing.result()
        finally:
            editing.cancel()

    async def _mend(self) -> None:
        """Publish what is in force again; entries that are right are not written."""
        try:
            await self._publish_once(self.in_force)
        except SpoolError as error:
            log.debug("what is published is not looked at for now", error=str(error))

    async def _look_again(self) -> Look:
        return await in_daemon_thread(look_at, self._paths)

    async def _apply(self, look: Look) -> None:
        """Read and publish the files, and log the result."""
        # In a thread: thousands of objects take seconds to read, and the supervisor must go on.
        began = time.monotonic()
        mistakes, compiled = self.checked = await in_daemon_thread(self._check)
        self.on_checked()
        for mistake in mistakes:
            log.error("a manifest is wrong, its last good form stays", reason=str(mistake))
        if self.in_force.entries and not compiled.entries:
            # More likely a moved folder or an unmounted volume than the user's intention.
            self._warn_of_nothing("there were objects before, and they stay in force")
            return
        before = self._generation
        generation = await self._publish(compiled, look)
        if generation is None:
            return
        metrics.RECONCILE_SECONDS.observe(time.monotonic() - began)
        if mistakes:
            said = _WRONG_IN_PART if generation != before else _WRONG
            log.warning(said, generation=generation, count=len(mistakes))
        else:
            said = "manifests published" if generation != before else _NOTHING_NEW
            log.info(said, generation=generation)

    def _check(self) -> Checked:
        """Read the changed files again, and compile all objects."""
        return check(
            self._paths,
            keyrings=self._keyrings,
            last_good=self.in_force.entries,
            reader=self._reader,
            verifiers=self._verifiers,
            largest_entry=self._spool.config.largest_entry,
        )

    async def _publish_once(self, compiled: Compiled) -> int:
        generation = await publish_objects(
            self._spool, compiled.entries, self._keyrings, encoder=self._encoder
        )
        metrics.GENERATION.set(generation)
        self._generation = generation
        return generation

    async def _publish(self, compiled: Compiled, look: Look) -> int | None:
        """
        Publish as soon as the queue allows it, and return the generation.

        Return None if there is a newer edit, or if only another edit can help.
        """
        while True:
            try:
                generation = await self._publish_once(compiled)
            except SpoolError as error:
                metrics.ERRORS.labels("publish").inc()
                if isinstance(error, RecordTooLarge):
                    log.error(
                        "manifests cannot be published until they are edited", error=str(error)
                    )
                    return None
                log.warning("manifests cannot be published for now", error=str(error))
                await asyncio.sleep(_RETRY)
                if await self._look_again() != look:
                    return None
            else:
                self.in_force = compiled
                return generation
