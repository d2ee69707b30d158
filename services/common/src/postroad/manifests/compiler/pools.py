"""Checks that the servers can bear the egress pools that Relays name."""

from postroad.manifests.compiler.findings import Finding, refused
from postroad.manifests.compiler.result import Reason
from postroad.spool.lanes.assignment import DEFAULT_POOL
from postroad.spool.lanes.layout import MOST_CONSUMERS, Layout


class EgressPools:
    """
    The pools of the Relays that were compiled so far, the oldest Relays first.

    `layout` is that of replicated servers, None if there are none, as under `postroad up`.
    """

    def __init__(self, layout: Layout | None) -> None:
        self._layout = layout
        self._named = {DEFAULT_POOL}

    def check(self, pool: str) -> list[Finding]:
        """Return a finding if a Relay's pool is one too many."""
        pools = len(self._named | {pool})
        needed = self._layout.consumers(pools) if self._layout is not None else 0
        if pool not in self._named and needed > MOST_CONSUMERS:
            message = (
                f"with this egress pool, the servers would have {needed} consumers for {pools}"
                f" pools, and at most {MOST_CONSUMERS} are allowed"
            )
            return [refused(Reason.TOO_MANY_POOLS, message, "egress", "pool")]
        self._named.add(pool)
        return []
