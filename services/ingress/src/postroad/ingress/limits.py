"""The limits of an ingress process, for one client and for all together."""

from dataclasses import dataclass
from datetime import timedelta

from postroad.process.settings import setting
from postroad.units.quantities import ByteSize


@dataclass(frozen=True, slots=True)
class IngressLimits:
    """The limits of every listener."""

    message_size: ByteSize = setting(ByteSize(50_000_000), minimum=ByteSize(64_000))
    """The largest message, in octets as SIZE counts them (RFC 1870)."""
    recipients: int = setting(1000, minimum=100, maximum=1000)
    """Recipients in one transaction. RFC 5321 §4.5.3.1.8 requires at least 100."""
    connections: int = setting(1000, minimum=1)
    """Open connections of this process, on all its listeners together."""
    connections_per_address: int = setting(100, minimum=1)
    """Open connections of one IP address to this process."""

    connections_per_network: int = setting(100, minimum=1)
    """Open connections of one network, if that is more than one address."""

    ipv4_prefix: int = setting(32, minimum=8, maximum=32)
    """The prefix length of one IPv4 network. 32: each address is a network of its own."""

    ipv6_prefix: int = setting(64, minimum=16, maximum=128)
    """The prefix length of one IPv6 network. A host with one address usually has a /64."""

    kept_for_clients: int = setting(10, minimum=0, maximum=90)
    """Percent of `connections` that are reserved for addresses in the networks of Clients."""
    memory: ByteSize = setting(ByteSize(512 * 1024 * 1024), minimum=ByteSize(64 * 1024 * 1024))
    """
    Memory that this process may use. All connections together may hold half of it: input,
    recipients, content that is not stored yet. Above a quarter, strangers (clients that no Client
    covers) may get 452 or 421; Clients may get it above half.
    """
    idle: timedelta = setting(timedelta(minutes=5), minimum=timedelta(seconds=1))
    """
    How long a client may take for a step (RFC 5321 §4.5.3.2.7): a command, an AUTH exchange,
    reading its replies. When connections are scarce, 10 s at most.
    """

    data_rate: ByteSize = setting(ByteSize(500), minimum=ByteSize(1))
    """
    The lowest rate at which content may arrive, in bytes a second. Content has the time of a step,
    and one second more each time that this number of bytes has arrived.
    """
    errors: int = setting(20, minimum=1)
    """Commands with an error before a session is closed. After half of them replies are delayed."""

    rejections: int = setting(100, minimum=1)
    """
    Refusals with 550 before a session is closed. After half of them replies are delayed. Recipients
    that a Client names do not count, nor do they count as errors.
    """

    rejections_per_network: int = setting(1000, minimum=1)
    """
    Such refusals of one address (an IPv6 /64) in ten minutes, over the whole cluster. Each further
    one closes its session.
    """

    junk_commands: int = setting(100, minimum=10)
    """
    Commands that move no mail, such as RSET, between two messages before a session is closed.
    """

    failed_logins: int = setting(30, minimum=1)
    """
    Failed logins of one address (an IPv6 /64) in ten minutes, over the whole cluster, before its
    logins get 454. Usernames that have logged in from there can still log in.
    """

    failed_logins_per_name: int = setting(10, minimum=1)
    """Failed logins with one username from one address."""
    received_fields: int = setting(50, minimum=10)
    """Most Received fields of a message; one with more is in a loop (RFC 5321 §6.3)."""
    inline_size: ByteSize = setting(
        ByteSize(128 * 1024), minimum=ByteSize(1024), maximum=ByteSize(1024 * 1024)
    )
    """Content up to this size is stored in its record, larger content in the blob store."""
    store: timedelta = setting(
        timedelta(seconds=20), minimum=timedelta(seconds=1), maximum=timedelta(minutes=1)
    )
    """How long ingress tries to store a message after its final dot, before 451."""
