"""The manifests of `postroad up`: read, compiled, published, and followed while they are edited."""

from collections.abc import Sequence
from pathlib import Path

from watchfiles import awatch

from postroad.cli.errors import Failure
from postroad.policy.check import check
from postroad.policy.seal import Keyring
from postroad.runtime.configuration import publish_objects
from postroad.runtime.logs import get_logger
from postroad.spool.interface import Spool

log = get_logger("up.manifests")


class Manifests:
    """The files that configure this machine's relay."""

    def __init__(self, paths: Sequence[Path], spool: Spool, keyring: Keyring) -> None:
        self._paths = paths
        self._spool = spool
        self._keyring = keyring

    async def publish_first(self) -> None:
        """Publish what the files say; Failure lists every mistake, because nothing runs yet."""
        mistakes, compiled = check(self._paths)
        if mistakes:
            listed = "\n".join(f"  {mistake}" for mistake in mistakes)
            raise Failure(f"the manifests cannot be used:\n{listed}")
        await publish_objects(self._spool, compiled, self._keyring)

    async def watch(self) -> None:
        """Publish again after each edit; while there is a mistake the last good state stands."""
        async for _ in awatch(*self._paths, recursive=True, raise_interrupt=False):
            mistakes, compiled = check(self._paths)
            for mistake in mistakes:
                log.error("a manifest is wrong, what was in force stays", reason=str(mistake))
            if not mistakes:
                generation = await publish_objects(self._spool, compiled, self._keyring)
                log.info("manifests published", generation=generation)
