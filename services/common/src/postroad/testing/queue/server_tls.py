"""The certificate of a test's NATS server and its authority, as files that may change."""

from datetime import timedelta
from pathlib import Path

from postroad.spool.jetstream.nats.tls import ServerTrust
from postroad.testing.peers.certificates import tls_pair

_TLS = """
tls {{ cert_file: "{folder}/tls.crt", key_file: "{folder}/tls.key", handshake_first: true }}
"""


class ServerTls:
    """A folder as the Secret of the chart's servers: ca.crt, tls.crt, tls.key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.authorities = folder / "ca.crt"
        self.renew("first")

    @property
    def config(self) -> str:
        """What the server's configuration says, as in the chart."""
        return _TLS.format(folder=self._folder)

    @property
    def trust(self) -> ServerTrust:
        """Whom a client believes; the server is reached by its address."""
        return ServerTrust(self.authorities, name="localhost")

    def renew(self, name: str, *, ends_in: timedelta = timedelta(days=1)) -> None:
        """Write another certificate, of an authority of its own, which clients believe at once."""
        certificate, key = tls_pair("localhost", name, ends_in=ends_in)
        (self._folder / "tls.crt").write_text(certificate)
        (self._folder / "tls.key").write_text(key)
        self.authorities.write_text(certificate)
