"""
The chart's accounts on servers of a test, and how each role logs in there.

The chart's file has lines for each shard, which the chart writes out as `expanded` does.
"""

from pathlib import Path
from typing import Any

from postroad.spool.jetstream.options import SpoolOptions

ROLES = ("ingress", "delivery", "operator", "command")
API_PREFIX = "JS.POSTROAD.API"
_SHARD = "{shard}"


def expanded(accounts: Path, *, shards: int) -> str:
    """Return the file of accounts with a line for each shard where it has one for all."""
    told: list[str] = []
    for line in accounts.read_text().splitlines():
        if _SHARD in line and not line.startswith("#"):
            told += [line.replace(_SHARD, str(shard)) for shard in range(shards)]
        else:
            told.append(line)
    return "\n".join(told) + "\n"


def bounded(accounts: str, *, octets: int) -> str:
    """Return accounts of which that with the queue stores no more, all copies together."""
    unbounded = "jetstream: enabled"
    assert accounts.count(unbounded) == 1
    return accounts.replace(unbounded, f"jetstream: {{ max_file: {octets} }}")


def password_of(role: str) -> str:
    """Return the password of a role's user."""
    return f"secret-of-{role}"


def as_role(role: str, *urls: str, **more: Any) -> SpoolOptions:
    """Return with what a process of a role connects to servers with accounts."""
    return SpoolOptions(
        servers=urls,
        role=role,
        user=role,
        password=password_of(role),
        api_prefix=API_PREFIX,
        **more,
    )
