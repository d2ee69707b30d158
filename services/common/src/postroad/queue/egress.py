"""The settings of where connections to mail hosts may go, shared by delivery and the operator."""

from dataclasses import dataclass

from postroad.mail.ip_address import Network
from postroad.policy.walls import DeniedNetworks
from postroad.process.settings import setting


@dataclass(frozen=True, slots=True)
class EgressSettings:
    """Networks that are denied, whoever names a host there."""

    denied: tuple[Network, ...] = setting(())
    """
    Networks to which no connection is made, even if a Relay or Domain names a host there, separated
    by commas. Mail for such a host waits.
    """
    allowed: tuple[Network, ...] = setting(())
    """Exceptions within the denied networks, separated by commas."""

    @property
    def walls(self) -> DeniedNetworks:
        """The rules that follow."""
        return DeniedNetworks(self.denied, self.allowed)
