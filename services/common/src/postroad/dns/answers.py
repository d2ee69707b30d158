"""Answers of the DNS as values, which the resolver makes and routing uses."""

from dataclasses import dataclass
from enum import Enum, auto


class DnsFailure(Enum):
    """Why there is no answer."""

    NO_SUCH_NAME = auto()  # NXDOMAIN: the name does not exist
    NO_DATA = auto()  # the name exists, but has no records of the type
    TEMPORARY = auto()  # SERVFAIL, a timeout, no server: an unknown result counts as temporary
    UNASKED = auto()  # not asked: the DNS is known not to answer, or we have no descriptors


UNKNOWN = (DnsFailure.TEMPORARY, DnsFailure.UNASKED)


@dataclass(frozen=True, slots=True)
class MxAnswer:
    """The MX records of a domain as (preference, host), hosts in lower case without a final dot."""

    records: tuple[tuple[int, str], ...] = ()
    trouble: DnsFailure | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class AddressAnswer:
    """
    The IP addresses of a host, IPv6 first; `trouble` says why there are none.

    With addresses, `trouble` says that those of the other family are unknown.
    """

    addresses: tuple[str, ...] = ()
    trouble: DnsFailure | None = None
    detail: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether these are all addresses. Only then may mail bounce because of them."""
        return self.trouble not in UNKNOWN
