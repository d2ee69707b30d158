"""
The host name of a process: in greetings, EHLO, trace fields and notifications.

All code uses this one name, also to find ourselves among the MX hosts of a domain.
"""

import socket

from postroad.process.errors import StartupError
from postroad.telemetry.logs import get_logger
from postroad.units.addresses import HostName, parse_host_name

log = get_logger(__name__)


def own_name(said: HostName | None) -> HostName:
    """
    Return the name in POSTROAD_HOSTNAME (`said`), or the machine's name if it is not set.

    Raises StartupError when the machine's name is not a valid host name.
    """
    if said is None:
        try:
            return parse_host_name(socket.getfqdn())
        except ValueError as error:
            raise StartupError(
                f"the name of this machine cannot be used in SMTP: {error};"
                " set POSTROAD_HOSTNAME to the name that the DNS has for it"
            ) from error
    if "." not in said:
        log.warning(
            "POSTROAD_HOSTNAME has no dot, and hosts may refuse mail from it",
            host=said,
            reason="write the full name that its address has in the DNS",
        )
    return said
