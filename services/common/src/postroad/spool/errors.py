"""What can go wrong between a process and the queue, by what the caller must do about it."""


class SpoolError(Exception):
    """Base of the queue's errors."""


class SpoolUnavailable(SpoolError):
    """The queue does not answer, or not in time: try later (to a peer 451 4.3.0)."""


class PublishRefused(SpoolUnavailable):
    """The queue is away and certainly has nothing of it, from any try: it may go elsewhere."""


class SpoolFull(SpoolError):
    """The queue takes no more mail for now (to a peer 452 4.3.1)."""


class RecordTooLarge(SpoolError):
    """The queue's server takes no record of this size; no later try will change that."""


class RecordCorrupt(SpoolError):
    """Stored bytes are not a record; no later try will change that."""


class BodyMissing(SpoolError):
    """The stream's leader says that a record's body is not there."""


class BodyCorrupt(SpoolError):
    """A body's chunks, size or checksum are not what its record says."""


class LeaseLost(SpoolError):
    """A taken record is no longer ours for certain: drop it and the connection it is sent on."""


class ClaimLost(SpoolError):
    """A waiting record was claimed by somebody else, or is gone."""
