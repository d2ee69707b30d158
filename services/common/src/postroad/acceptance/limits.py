"""The limits of acceptance, which are among those of the process that accepts mail."""

from datetime import timedelta
from typing import Protocol


class AcceptanceLimits(Protocol):
    """What a process's limits say about the messages that it accepts. Sizes are octets."""

    @property
    def message_size(self) -> int:
        """The largest message, as SIZE counts it (RFC 1870)."""

    @property
    def inline_size(self) -> int:
        """The largest content that is stored in its record."""

    @property
    def received_fields(self) -> int:
        """Most Received fields of a message (RFC 5321 §6.3)."""

    @property
    def rejections_per_network(self) -> int:
        """Refusals of one network in a window, over the whole cluster."""

    @property
    def store(self) -> timedelta:
        """How long to try to store a message."""
