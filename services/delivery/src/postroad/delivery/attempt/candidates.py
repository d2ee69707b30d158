"""
The addresses that one attempt tries, one after the other, and when it has tried enough. No I/O.

The caps count what was tried: an address that cannot even be asked from here, because no route
leads there or the source's family is another, takes no place from one that can.
"""

from collections.abc import Callable, Sequence

from postroad.delivery.routing.addresses import of_family
from postroad.delivery.routing.routes import MailHost, Route

MAX_TRIES = 6  # addresses that are really tried in one attempt
MAX_VERDICTS = 3  # hosts whose "not now" about the mail is heard; then the last one's stands

Target = tuple[MailHost, str]


class Candidates:
    """
    A route's addresses in order. `source`: the address that connections leave from.

    The hosts named in `last` come at the end, in that order. Addresses that `is_dead` says have
    just failed are left out, unless all have.
    """

    def __init__(
        self,
        route: Route,
        source: str | None,
        is_dead: Callable[[Target], bool] | None = None,
        *,
        last: Sequence[str] = (),
    ) -> None:
        targets = [
            (host, address)
            for host in route.hosts
            for address in (host.addresses if source is None else of_family(host.addresses, source))
        ]
        if last:
            targets.sort(key=lambda target: _place_among(last, target[0].name))
        alive = [target for target in targets if not is_dead(target)] if is_dead else targets
        self._left: list[Target] = alive or targets
        self._route = route
        self._lacking: set[MailHost] = set()
        self._tries = 0
        self._verdicts = 0
        self.first: Target | None = self._left[0] if self._left else None

    @property
    def more(self) -> bool:
        """Whether there is another address to try."""
        enough = self._tries >= MAX_TRIES or self._verdicts >= MAX_VERDICTS
        return bool(self._left) and not enough

    def next(self) -> Target | None:
        """Take the address to try next, None when there is none or enough were tried."""
        if not self.more:
            return None
        self._tries += 1
        return self._left.pop(0)

    def untried(self) -> None:
        """The last one could not be tried from here: it does not count."""
        self._tries -= 1

    @property
    def are_exhausted(self) -> bool:
        """Whether each host of the domain, tried or not, is known not to take the mail at all."""
        return not self._route.is_partial and self._lacking.issuperset(self._route.hosts)

    def drop(self, host: MailHost) -> None:
        """A host cannot take the mail at all: none of its addresses is tried."""
        self._lacking.add(host)
        self._left = [target for target in self._left if target[0] is not host]

    def end(self) -> None:
        """No other address can be tried."""
        self._left = []

    def leave(self, host: MailHost) -> None:
        """A host has said "not now" about the mail: its other addresses come last."""
        self._verdicts += 1
        others = [target for target in self._left if target[0] is not host]
        same = [target for target in self._left if target[0] is host]
        self._left = others + same


def _place_among(last: Sequence[str], name: str) -> int:
    return last.index(name) if name in last else -1
