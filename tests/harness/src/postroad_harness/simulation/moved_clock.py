"""
Replaces the clock and the random numbers of the product's code for one seed.

In our modules, the names `datetime`, `time`, `secrets` and `uuid4` are replaced by ones that follow
the simulation, and the generators of `random` are seeded. After the block, everything is restored.
"""

import random
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from types import ModuleType, SimpleNamespace
from typing import Any

EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")

_exchangeable: list[tuple[ModuleType, str, object]] = []  # once: modules are many
_Random = random.Random


class _SeededRandom(_Random):
    """A generator that, given no seed, takes one from the seeded generator of all."""

    def __init__(self, seed: Any = None) -> None:
        super().__init__(random.getrandbits(64) if seed is None else seed)


def _names() -> list[tuple[ModuleType, str, object]]:
    if not _exchangeable:
        originals = {
            "datetime": datetime,
            "monotonic": time.monotonic,
            "time": time,
            "secrets": secrets,
            "uuid4": uuid.uuid4,
        }
        for name, module in sorted(sys.modules.items()):
            if name.startswith(("postroad.", "postroad_harness.")) and name != __name__:
                for attribute, original in originals.items():
                    if module.__dict__.get(attribute) is original:
                        _exchangeable.append((module, attribute, original))
    return _exchangeable


def moved_now(now: Callable[[], float]) -> Callable[[], datetime]:
    """Return a wall clock that reads `now`."""
    return lambda: EPOCH + timedelta(seconds=now())


@contextmanager
def moved_clock(now: Callable[[], float], seed: int) -> Iterator[None]:
    """In this block, code reads `now` (seconds since EPOCH) and random numbers from `seed`."""

    class MovedDatetime(datetime):
        """The class `datetime` with a `now` of ours; its values are ordinary ones."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            """Return the simulation's time."""
            return EPOCH + timedelta(seconds=now())

    # Names have dice of their own: how many are drawn changes nothing else.
    names = _Random(seed)
    replacements: dict[str, object] = {
        "datetime": MovedDatetime,
        "monotonic": now,
        "time": SimpleNamespace(monotonic=now),
        "secrets": SimpleNamespace(
            token_hex=lambda size: names.randbytes(size).hex(), token_bytes=names.randbytes
        ),
        "uuid4": lambda: uuid.UUID(int=random.getrandbits(128)),
    }
    state = random.getstate()
    random.seed(seed)
    random.Random = _SeededRandom  # type: ignore[misc,assignment]
    try:
        for module, attribute, _ in _names():
            setattr(module, attribute, replacements[attribute])
        yield
    finally:
        for module, attribute, original in _names():
            setattr(module, attribute, original)
        random.Random = _Random  # type: ignore[misc]
        random.setstate(state)
