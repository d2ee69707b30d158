"""
Hashes the new passwords of Clients that one compilation leaves, by turns among namespaces.

Hashing takes 23 ms a password, and every edit waits for the compilation that it is part of. So a
compilation hashes a few passwords itself, and the others are hashed here meanwhile, one by one in a
thread. Every second the configuration is compiled again, with those that are ready. Whoever changes
thousands of passwords delays neither the edits of others nor, for long, their passwords.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from itertools import chain, zip_longest

from postroad.policy.secrets.verifiers import Unhashed, Verifiers

AT_ONCE = 20  # passwords in one compilation: half a second
_EVERY = timedelta(seconds=1)


class PasswordHashing:
    """Hashes what `verifiers` have postponed, and calls `hashed` when some of it is there."""

    def __init__(self, hashed: Callable[[], None]) -> None:
        self._hashed = hashed
        self._postponed = asyncio.Event()
        self._verifiers: Verifiers | None = None

    def look(self, verifiers: Verifiers) -> None:
        """Hash what these have postponed now, in place of all else."""
        self._verifiers = verifiers
        if verifiers.postponed:
            self._postponed.set()

    async def run(self) -> None:
        """Hash, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._postponed.wait()
            self._postponed.clear()
            assert self._verifiers is not None
            tell_at = loop.time() + _EVERY.total_seconds()
            for password in by_turns(self._verifiers.postponed):
                await asyncio.to_thread(self._verifiers.make, password)
                if self._postponed.is_set():
                    break  # another compilation has looked at all of them again
                if loop.time() > tell_at:
                    self._hashed()
                    tell_at = loop.time() + _EVERY.total_seconds()
            self._hashed()


def by_turns(passwords: Iterable[Unhashed]) -> Iterator[Unhashed]:
    """Return passwords in an order in which each namespace has its turn."""
    of: dict[str, list[Unhashed]] = defaultdict(list)
    for each in passwords:
        of[each.client.namespace].append(each)
    turns = chain.from_iterable(zip_longest(*of.values()))
    return (each for each in turns if each is not None)
