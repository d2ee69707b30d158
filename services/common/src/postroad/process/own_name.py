"""
The name a process says of itself: in greetings, EHLO, trace fields, notifications.

One form of it is used everywhere, also where we look for ourselves among the MX hosts of a domain.
"""

import socket

from postroad.process.errors import StartupError
from postroad.telemetry.logs import get_logger
from postroad.units.addresses import HostName, parse_host_name

log = get_logger(__name__)


def own_name(said: HostName | None) -> HostName:
    """
    Return the name that POSTROAD_HOSTNAME says, the machine's without it.

    StartupError where the machine's is no name that can be said to others.
    """
    if said is None:
        try:
            return parse_host_name(socket.getfqdn())
        except ValueError as error:
            raise StartupError(
                f"the name of this machine cannot be said to other hosts: {error};"
                " set POSTROAD_HOSTNAME to the name that the DNS has for it"
            ) from error
    if "." not in said:
        log.warning(
            "POSTROAD_HOSTNAME has no dot, and hosts may refuse mail from it",
            host=said,
            reason="write the full name that its address has in the DNS",
        )
    return said
