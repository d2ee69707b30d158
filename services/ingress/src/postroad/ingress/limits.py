"""What ingress takes from one client and from all, in one frozen value; sizes in bytes."""

from dataclasses import dataclass
from datetime import timedelta

from postroad.runtime.quantities import ByteSize
from postroad.runtime.settings import setting


@dataclass(frozen=True, slots=True)
class IngressLimits:
    """The limits of every listener."""

    message_size: ByteSize = setting(ByteSize(50_000_000), minimum=ByteSize(64_000))
    """The largest message (RFC 1870), as it is sent."""
    recipients: int = setting(1000, minimum=100, maximum=1000)
    """Recipients in one transaction; RFC 5321 §4.5.3.1.8 asks for 100 at least."""
    connections: int = setting(1000, minimum=1)
    """Open connections of this process, on all its listeners together."""
    connections_per_address: int = setting(100, minimum=1)
    """Open connections of one IP address to this process."""
    idle: timedelta = setting(timedelta(minutes=5), minimum=timedelta(seconds=1))
    """How long a session may say nothing (RFC 5321 §4.5.3.2.7)."""
    errors: int = setting(20, minimum=1)
    """Commands with an error before a session is closed."""
    failed_logins: int = setting(30, minimum=1)
    """Failed logins of one address (an IPv6 /64) in ten minutes, over the whole cluster, before its
    logins hear 454; but those of names that have logged in from there go on."""
    failed_logins_per_name: int = setting(10, minimum=1)
    """The same with one username, from one address."""
    received_fields: int = setting(50, minimum=10)
    """Received fields of a message that goes round in circles (RFC 5321 §6.3)."""
    inline_size: ByteSize = setting(
        ByteSize(128 * 1024), minimum=ByteSize(1024), maximum=ByteSize(1024 * 1024)
    )
    """Content up to this size travels inside its record, larger content in the blob store."""
    store: timedelta = setting(
        timedelta(seconds=20), minimum=timedelta(seconds=1), maximum=timedelta(minutes=1)
    )
    """How long the queue is tried after the final dot, before 451."""
