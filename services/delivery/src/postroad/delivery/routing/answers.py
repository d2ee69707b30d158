"""What the DNS said, as values: between the resolver, which asks, and routing, which decides."""

from dataclasses import dataclass
from enum import Enum, auto


class DnsFailure(Enum):
    """Why there is no answer."""

    NO_SUCH_NAME = auto()  # NXDOMAIN: nothing by that name
    NO_DATA = auto()  # the name is there, records of the type are not
    TEMPORARY = auto()  # SERVFAIL, a timeout, no server: unknown means temporary
    UNASKED = auto()  # the DNS is known not to answer, so it was not asked


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """The MX records of a domain as (preference, host), hosts in lower case without a final dot."""

    records: tuple[tuple[int, str], ...] = ()
    trouble: DnsFailure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """The IP addresses of a host, IPv6 first; trouble when there are none."""

    addresses: tuple[str, ...] = ()
    trouble: DnsFailure | None = None
    detail: str = ""
