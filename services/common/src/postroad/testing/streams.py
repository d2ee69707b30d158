"""Closes a test's connections reliably, so that none outlives its event loop."""

import asyncio
import contextlib
import ssl


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection and wait until it is closed; ignores errors."""
    writer.close()
    with contextlib.suppress(OSError, ssl.SSLError):
        await writer.wait_closed()
