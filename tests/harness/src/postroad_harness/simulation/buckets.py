"""
The servers' key-value buckets: compare-and-set, expiry of keys, and buckets in memory only.

`SimulatedBucket` is the process's side. It uses plain requests where the real bucket uses
JetStream's API. They can be lost like all other messages.
"""

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase

from postroad.spool.errors import ClaimLost
from postroad.spool.jetstream.nats.direct_get import Page, StoredMessage
from postroad.spool.jetstream.nats.key_value import Bucket, Outdated
from postroad.spool.jetstream.nats.pub_ack import check_ack
from postroad.spool.jetstream.nats.requests import Requests
from postroad_harness.simulation.link import SimulatedLink
from postroad_harness.simulation.moved_clock import EPOCH

_IN_MEMORY = "presence"
_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_TTL = "Nats-TTL"
_READ = "Read"  # a request to read, no JetStream header
_TIMEOUT = 2.0  # seconds


@dataclass(frozen=True, slots=True)
class _Value:
    sequence: int
    data: bytes
    headers: Mapping[str, str]
    stored: float
    ends: float


class Buckets:
    """The servers' side of all buckets. Keys are `<bucket>.<key>`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._values: dict[str, _Value] = {}
        self._sequence = 0

    def forget_memory(self) -> None:
        """Lose the buckets that are in memory only."""
        self._values = {
            key: value
            for key, value in self._values.items()
            if not key.startswith(f"{_IN_MEMORY}.")
        }

    def receive(self, subject: str, data: bytes, headers: Mapping[str, str]) -> bytes:
        """Read or write, and return the answer."""
        now = self._now()
        key = subject.removeprefix("$KV.")
        if _READ in headers:
            found = [
                [
                    f"$KV.{name}",
                    value.sequence,
                    base64.b64encode(value.data).decode(),
                    dict(value.headers),
                    value.stored,
                ]
                for name, value in self._values.items()
                if fnmatchcase(name, key.replace(">", "*")) and value.ends > now
            ]
            return json.dumps(sorted(found, key=lambda each: int(str(each[1])))).encode()
        known = self._values.get(key)
        at = known.sequence if known is not None and known.ends > now else 0
        if _EXPECTED in headers and int(headers[_EXPECTED]) != at:
            return b'{"error":{"err_code":10071,"description":"wrong last sequence"}}'
        self._sequence += 1
        lifetime = float(headers[_TTL]) if _TTL in headers else float("inf")
        kept = {name: value for name, value in headers.items() if name not in (_EXPECTED, _TTL)}
        self._values[key] = _Value(self._sequence, data, kept, now, now + lifetime)
        return b'{"stream":"KV","seq":%d}' % self._sequence


class SimulatedBucket(Bucket):
    """One bucket, as spool uses it."""

    def __init__(self, link: SimulatedLink, requests: Requests, name: str) -> None:
        super().__init__(link.as_link, name)
        self._subject = f"$KV.{name}."
        self._requests = requests

    async def get(self, key: str) -> StoredMessage | None:
        """Return a key's last message."""
        return next(iter(await self._read(key)), None)

    async def changes(self, keys: str, *, after: int) -> Page:
        """Return the present values of keys."""
        return Page([each for each in await self._read(keys) if each.sequence > after], 0)

    async def _read(self, keys: str) -> list[StoredMessage]:
        answer = await self._requests.send(
            self._subject + keys, headers={_READ: "1"}, timeout=_TIMEOUT
        )
        return [
            StoredMessage(
                name, sequence, EPOCH + timedelta(seconds=at), headers, base64.b64decode(data)
            )
            for name, sequence, data, headers, at in json.loads(answer.data)
        ]

    async def _store(self, subject: str, value: bytes, headers: dict[str, str]) -> int:
        answer = await self._requests.send(subject, value, headers=headers, timeout=_TIMEOUT)
        try:
            return check_ack(answer)
        except ClaimLost as error:
            raise Outdated(str(error)) from error
