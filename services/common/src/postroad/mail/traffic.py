"""The two classes of mail that never delay each other: express (transactional) and bulk."""

from enum import StrEnum


class TrafficClass(StrEnum):
    """A message's class; the value is its token in the queue's subjects."""

    EXPRESS = "x"
    BULK = "b"
