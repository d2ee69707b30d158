"""The settings of an ingress process, from POSTROAD_… variables."""

from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from postroad.ingress.limits import IngressLimits
from postroad.mail.ip_address import Network
from postroad.process.settings import group, setting
from postroad.queue.opening import QueueSettings
from postroad.smtp.server.content import LineEnds
from postroad.units.addresses import HostName, ListenAddress


@dataclass(frozen=True, slots=True)
class ListenSettings:
    """Where each port listens; a port that is not set is not opened."""

    relay: ListenAddress | None = None
    """The port for other mail servers and for networks that are Clients, 25 in production."""
    submission: ListenAddress | None = None
    """The submission port with STARTTLS, 587 in production (RFC 6409)."""
    submissions: ListenAddress | None = None
    """The submission port with TLS from the first byte, 465 in production (RFC 8314)."""
    relay_proxy: ListenAddress | None = None
    """Like the relay port, for a load balancer that begins each connection with a PROXY header."""
    submission_proxy: ListenAddress | None = None
    """Like the submission port, for such a load balancer."""
    submissions_proxy: ListenAddress | None = None
    """Like the submissions port, for such a load balancer. The header comes before TLS."""

    @property
    def proxied(self) -> bool:
        """Whether any port expects PROXY headers."""
        return any((self.relay_proxy, self.submission_proxy, self.submissions_proxy))


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """Whose PROXY headers are trusted."""

    trusted: tuple[Network, ...] | None = None
    """
    The load balancers' networks, separated by commas: 192.0.2.0/24,2001:db8::/32. Required with a
    port for PROXY headers. Connections to it from elsewhere are closed.
    """


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The certificate: two files, or a folder in which a self-signed one is made."""

    cert: Path | None = None
    """The certificate with its chain, PEM. It is read again when it changes. Set the key too."""
    key: Path | None = None
    """The certificate's key, PEM."""
    state: Path = setting(Path("tls"))
    """The folder of a self-signed certificate, created at the first start if none is set."""

    def __post_init__(self) -> None:
        if (self.cert is None) != (self.key is None):
            raise ValueError("POSTROAD_TLS_CERT and POSTROAD_TLS_KEY go together; set both")


@dataclass(frozen=True, slots=True)
class IngressSettings:
    """All settings of an ingress process."""

    queue: QueueSettings = group(QueueSettings, prefix="")
    listen: ListenSettings = group(ListenSettings)
    proxy: ProxySettings = group(ProxySettings)
    tls: TlsSettings = group(TlsSettings)
    limit: IngressLimits = group(IngressLimits)
    hostname: HostName | None = None
    """The relay's name in its greeting and trace fields. Default: the machine's."""
    insecure_auth: bool = setting(False)
    """Allow AUTH without TLS from loopback addresses."""
    normalise_line_ends: LineEnds = setting(LineEnds.SUBMITTED)
    """
    Mail in which bare CRs and LFs become CRLF instead of being refused: `submitted` for mail on the
    submission ports and after AUTH, `all`, or `none`.
    """
    packs: bool = setting(True)
    """
    Whether mail that comes at the same time is stored as one message, which saves the queue's
    servers most of their work. Turn it off before you go back to a release that knows no packs.
    """
    data_drain: timedelta = setting(timedelta(seconds=20), minimum=timedelta(seconds=1))
    """How long messages that are being received may take to finish at a drain."""

    def __post_init__(self) -> None:
        if self.listen.proxied and not self.proxy.trusted:
            raise ValueError(
                "POSTROAD_PROXY_TRUSTED: is required with a port for PROXY headers;"
                " name the load balancers' networks"
            )
