"""
The site directory in KV `sites`: the site of each domain, which its MX hosts determine.

Domains are read on demand into a bounded cache. The bucket is not watched as a whole: with 100,000
domains each process would need some 30 MB and read all of them at each start, though it has mail
for few. The price is that the first look-up of a domain returns "". Then its record gets into the
lane of the domain, and delivery moves it once.

The directory is a hint: nothing here raises, and mail flows without it.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from postroad.process.background.tasks import BackgroundTasks
from postroad.spool.errors import SpoolError
from postroad.spool.jetstream.nats.key_value import Bucket, is_deletion, token
from postroad.spool.metrics import INTERNAL_ERRORS
from postroad.telemetry.logs import get_logger

_KNOWN_DOMAINS = 20_000  # some 6 MB
_ASKED_AT_ONCE = 64
_STAYS_KNOWN = timedelta(minutes=10)
# A domain without mail expires from the directory. For the others, the process that resolves them
# writes them again in time.
_LIFETIME = timedelta(days=30)
_WRITTEN_AGAIN = timedelta(days=7)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """A cached domain; `site` is "" when the directory has none. The times are of two clocks."""

    site: str
    asked: float  # the loop's time
    written: datetime | None  # the server's, None when it is not in the directory


class JetStreamSiteDirectory:
    """Implements agreement.SiteDirectory."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: set[str] = set()
        self._tasks = BackgroundTasks(INTERNAL_ERRORS)

    def lookup(self, domain: str) -> str:
        """Return the last known site of a domain, "" when none is known here yet."""
        known = self._known.get(domain)
        if known is None or self._age(known) > _STAYS_KNOWN.total_seconds():
            self._ask_soon(domain)
        if known is None:
            return ""
        self._known.move_to_end(domain)
        return known.site

    async def learn(self, domain: str, site: str) -> None:
        """Store a domain's site; it is written only if the directory has another one or none."""
        try:
            known = self._known.get(domain) or await self._ask(domain)
            if known.site == site and _is_recent(known.written):
                return
            self._remember(domain, site, None)
            await self._bucket.put(token(domain), site.encode(), lifetime=_LIFETIME)
            self._remember(domain, site, datetime.now(UTC))
        except SpoolError as error:
            # It is cached here, and the next process that resolves the domain writes it.
            self._remember(domain, site, None)
            log.info(
                "a site could not be written to the site directory", domain=domain, error=str(error)
            )

    async def close(self) -> None:
        """Cancel the look-ups under way."""
        await self._tasks.cancel()

    def _ask_soon(self, domain: str) -> None:
        # Over the limit nothing is read: the next look-up tries again.
        if domain in self._asking or len(self._asking) >= _ASKED_AT_ONCE:
            return
        self._asking.add(domain)
        self._tasks.spawn(self._ask_quietly(domain))

    async def _ask_quietly(self, domain: str) -> None:
        try:
            await self._ask(domain)
        except SpoolError as error:
            log.debug("a site is not read", domain=domain, error=str(error))
        finally:
            self._asking.discard(domain)

    async def _ask(self, domain: str) -> _Known:
        message = await self._bucket.get(token(domain))
        if message is None or is_deletion(message):
            return self._remember(domain, "", None)
        return self._remember(domain, message.data.decode("utf-8", "replace"), message.stored_at)

    def _remember(self, domain: str, site: str, written: datetime | None) -> _Known:
        known = _Known(site, asyncio.get_running_loop().time(), written)
        self._known[domain] = known
        self._known.move_to_end(domain)
        if len(self._known) > _KNOWN_DOMAINS:
            self._known.popitem(last=False)
        return known

    def _age(self, known: _Known) -> float:
        return asyncio.get_running_loop().time() - known.asked


def _is_recent(written: datetime | None) -> bool:
    return written is not None and datetime.now(UTC) - written < _WRITTEN_AGAIN
