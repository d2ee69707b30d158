"""
Connections that other processes have in use in lanes that they left, as told by their sessions.

The records on these connections are leased as long as the servers remember it. If the servers
forget, they hand the records out to the lane's new owner, who must wait until the former owner has
ended them.
"""

from collections import Counter
from collections.abc import Mapping

from postroad.spool.agreement import SessionInfo, named_site
from postroad.spool.jetstream.cluster.sessions.membership import Membership


class OpenElsewhere:
    """The sums over the sessions when they were last read."""

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._seen: tuple[SessionInfo, ...] = ()
        self._counts: Mapping[str, int] = {}

    def may_be_at(self, site: str) -> bool:
        """Whether another process may be sending a site's record; "" is an unknown site."""
        counts = self.counts
        return bool(counts) and (not site or named_site(site) in counts)

    @property
    def counts(self) -> Mapping[str, int]:
        """The connections by the site's hashed name; the same object until they change."""
        if self._seen is not self._membership.seen:
            self._seen = self._membership.seen
            counts: Counter[str] = Counter()
            for session in self._seen:
                if session.session_id != self._membership.session_id:
                    counts.update(dict(session.left_open))
            if counts != self._counts:
                self._counts = counts
        return self._counts
