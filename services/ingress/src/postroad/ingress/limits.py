"""What ingress takes from one client and from all, in one frozen value; sizes in bytes."""

from dataclasses import dataclass
from datetime import timedelta

from postroad.process.settings import setting
from postroad.units.quantities import ByteSize


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

    connections_per_network: int = setting(100, minimum=1)
    """Open connections of one network, where that is more than one address."""

    ipv4_prefix: int = setting(32, minimum=8, maximum=32)
    """The prefix length of what counts as one IPv4 network; 32 is each address by itself."""

    ipv6_prefix: int = setting(64, minimum=16, maximum=128)
    """The prefix length of what counts as one IPv6 network; whoever has one address has a /64."""

    kept_for_clients: int = setting(10, minimum=0, maximum=90)
    """Percent of `connections` that are kept for addresses in the networks of Clients."""
    memory: ByteSize = setting(ByteSize(512 * 1024 * 1024), minimum=ByteSize(64 * 1024 * 1024))
    """Memory this process may use. What all connections hold may be half of it: input, recipients,
    content that is not stored yet. From a quarter on strangers hear 452 or 421, Clients later."""
    idle: timedelta = setting(timedelta(minutes=5), minimum=timedelta(seconds=1))
    """
    How long a client may take for a step (RFC 5321 §4.5.3.2.7): a command, an AUTH exchange,
    reading its replies. While places are scarce, 10 s at most.
    """

    data_rate: ByteSize = setting(ByteSize(500), minimum=ByteSize(1))
    """Content has the time of a step, and a second more for each so many bytes that came."""
    errors: int = setting(20, minimum=1)
    """Commands with an error before a session is closed; from half of it on, replies are late."""

    rejections: int = setting(100, minimum=1)
    """Senders, recipients and messages refused with 550 before it is closed; likewise. Recipients
    that a Client names do not count, nor as errors."""

    rejections_per_network: int = setting(1000, minimum=1)
    """The same of one address (an IPv6 /64) in ten minutes, over the whole cluster: from then on
    each further one closes its session."""

    junk_commands: int = setting(100, minimum=10)
    """Commands that move no mail, such as RSET, between two messages, before it is closed."""

    failed_logins: int = setting(30, minimum=1)
    """Failed logins of one address (an IPv6 /64) in ten minutes, over the whole cluster, before its
    logins hear 454; but those of names that have logged in from there go on."""

    failed_logins_per_name: int = setting(10, minimum=1)
    """The same with one username, from one address."""
    received_fields: int = setting(50, minimum=10)
    """Received fields of a message that loops (RFC 5321 §6.3)."""
    inline_size: ByteSize = setting(
        ByteSize(128 * 1024), minimum=ByteSize(1024), maximum=ByteSize(1024 * 1024)
    )
    """Content up to this size travels inside its record, larger content in the blob store."""
    store: timedelta = setting(
        timedelta(seconds=20), minimum=timedelta(seconds=1), maximum=timedelta(minutes=1)
    )
    """How long the queue is tried after the final dot, before 451."""
