"""Ending a test's connections for certain, so that none outlives the loop it belongs to."""

import asyncio
import contextlib
import ssl


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until it is gone, however the peer takes it."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
