"""The settings of a delivery process, from POSTROAD_… variables."""

from dataclasses import dataclass
from datetime import timedelta

from postroad.process.settings import group, setting
from postroad.queue.egress import EgressSettings
from postroad.queue.opening import QueueSettings
from postroad.units.addresses import HostName, NameServer
from postroad.units.quantities import ByteSize


@dataclass(frozen=True, slots=True)
class DeliverySettings:
    """The settings of a delivery process."""

    queue: QueueSettings = group(QueueSettings, prefix="")
    hostname: HostName | None = None
    """The relay's name in EHLO and reports. Default: the machine's."""
    resolver: NameServer | None = None
    """
    A DNS server to use instead of the system's: its IP address, and its port unless it is 53.
    Default: those in /etc/resolv.conf, which is read again when it changes.
    """
    smtp_port: int = setting(25, minimum=1, maximum=65535)
    """The port of MX hosts."""
    tls_ca_file: str = setting("")
    """
    A file of certificate authorities (PEM) to trust besides the system's, for next hops whose
    certificate is verified. Read at the start.
    """
    allow_private_mx: bool = setting(False)
    """Deliver to MX hosts on loopback, link-local and private addresses."""
    egress: EgressSettings = group(EgressSettings)
    in_hand: int = setting(1500, minimum=10)
    """Records that this process has in hand at a time: its places."""
    in_hand_bytes: ByteSize = setting(ByteSize(32 * 1024 * 1024), minimum=ByteSize(1024 * 1024))
    """
    Octets of records that this process has in hand at a time. They are divided by the places, and a
    record takes as many places as it fills. The bodies of large messages, which are not in the
    records, may take four times as much memory.
    """
    finish: timedelta = setting(timedelta(seconds=15), minimum=timedelta(seconds=1))
    """How long deliveries under way may take to finish at a drain."""
