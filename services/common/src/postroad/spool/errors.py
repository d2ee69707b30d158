"""The queue's errors. Each class tells the caller what to do."""


class SpoolError(Exception):
    """Base of the queue's errors; `code` is the one that JetStream gave, 0 without one."""

    def __init__(self, *said: object, code: int = 0) -> None:
        super().__init__(*said)
        self.code = code


class SpoolUnavailable(SpoolError):
    """The queue does not answer, or not in time: try later (to a peer 451 4.3.0)."""


class PublishRefused(SpoolUnavailable):
    """The queue is unavailable and has certainly stored nothing: another shard may be tried."""


class SpoolFull(SpoolError):
    """The queue accepts no more mail for now (to a peer 452 4.3.1)."""


class RecordTooLarge(SpoolError):
    """The queue's server accepts no record of this size; do not retry."""


class RecordCorrupt(SpoolError):
    """Stored octets are not a valid record; do not retry."""


class BodyMissing(SpoolError):
    """The stream's leader says that a record's body is not there."""


class BodyCorrupt(SpoolError):
    """A body's chunks, size or checksum do not match its record."""


class LeaseLost(SpoolError):
    """A leased record may be another process's: drop it and the connection that it is sent on."""


class ClaimLost(SpoolError):
    """A waiting record was claimed by another process, or is gone."""
