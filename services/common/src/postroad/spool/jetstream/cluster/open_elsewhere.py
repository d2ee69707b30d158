"""
Connections that other processes have in use where they left lanes, as their sessions tell it.

What goes over them is leased as long as the servers remember who had it. When they forget, it is
handed out to the lane's new owner, who has to wait until the other has ended it.
"""

from collections import Counter
from collections.abc import Mapping

from postroad.spool.agreement import SessionInfo, named_site
from postroad.spool.jetstream.cluster.membership import Membership


class OpenElsewhere:
    """Adds up the sessions as they were last seen."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._seen: tuple[SessionInfo, ...] = ()
        self._counts: Mapping[str, int] = {}

    def may_be_at(self, site: str) -> bool:
        """Whether a record for a site may be under way elsewhere; "" is a site not known yet."""
        counts = self.counts
        return bool(counts) and (not site or named_site(site) in counts)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many for each site, by its hashed name; the same object until it changes."""
        if self._seen is not self._membership.seen:
            self._seen = self._membership.seen
            counts: Counter[str] = Counter()
            for session in self._seen:
                if session.session_id != self._membership.session_id:
                    counts.update(dict(session.left_open))
            if counts != self._counts:
                self._counts = counts
        return self._counts
