"""
The /metrics page of `postroad up`: its own metrics, and those of all its processes.

The processes are asked at the same time, so that several that hang cost a scrape one time limit and
not one each.
"""

import asyncio
from collections.abc import Mapping

import aiohttp

from postroad.telemetry import metrics
from postroad.telemetry.exposition import Format, merge
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=5)


async def merged_pages(pages: Mapping[str, str], wanted: Format) -> str:
    """Return the metrics of all processes; one that does not answer within 5 s is left out."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as client:
        asked = (_page(client, name, address, wanted) for name, address in pages.items())
        texts = dict(zip(pages, await asyncio.gather(*asked), strict=True))
    told = {name: text for name, text in texts.items() if text is not None}
    return merge({"up": metrics.exposition(wanted), **told})


async def _page(
    client: aiohttp.ClientSession, name: str, address: str, wanted: Format
) -> str | None:
    accept = {"Accept": wanted.content_type}
    try:
        async with client.get(f"http://{address}/metrics", headers=accept) as answer:
            return await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        log.warning("a process did not return its metrics", child=name)
        return None
