"""The two classes of mail: express (transactional) and bulk. Bulk never delays express mail."""

from enum import StrEnum


class TrafficClass(StrEnum):
    """A message's class; the value is its token in the queue's subjects."""

    EXPRESS = "x"
    BULK = "b"
