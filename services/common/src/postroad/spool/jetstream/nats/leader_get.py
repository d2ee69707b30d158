"""Reads one message from a stream's leader, which always has the latest state."""

import base64
from collections.abc import Mapping
from datetime import datetime

from postroad.spool.errors import SpoolUnavailable
from postroad.spool.jetstream.nats.direct_get import StoredMessage
from postroad.spool.jetstream.nats.requests import Requests

_NOT_FOUND = 404


async def ask_leader(
    requests: Requests, stream: str, query: Mapping[str, object]
) -> StoredMessage | None:
    """
    Return the message that STREAM.MSG.GET finds, None when there is none.

    `query` is `{"last_by_subj": subject}`, or `{"seq": first, "next_by_subj": subject}`.
    Raises SpoolUnavailable.
    """
    said = await requests.ask_api(f"STREAM.MSG.GET.{stream}", query)
    if "error" in said:
        if said["error"].get("code") == _NOT_FOUND:
            return None
        raise SpoolUnavailable(f"{stream} answers {said['error'].get('description')}")
    message = said["message"]
    return StoredMessage(
        message["subject"],
        int(message["seq"]),
        datetime.fromisoformat(message["time"]),
        _headers(base64.b64decode(message.get("hdrs", ""))),
        base64.b64decode(message.get("data", "")),
    )


def _headers(block: bytes) -> dict[str, str]:
    fields = {}
    for line in block.decode("utf-8", "replace").split("\r\n")[1:]:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    return fields
