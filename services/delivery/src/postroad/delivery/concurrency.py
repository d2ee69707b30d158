"""
How many connections one site is seen to bear, within its limits. No I/O.

It begins with few and is given one more for each attempt that it answers, so twice as many each
round: a host that says nothing never has more than it began with.
"""

from dataclasses import dataclass

INITIAL = 5  # connections, as in Postfix (initial_destination_concurrency)


@dataclass(slots=True)
class Concurrency:
    """The window of one site: how many connections may be in use there."""

    window: int = INITIAL

    def answered(self, most: int) -> None:
        """Take down that an attempt was answered there; `most` is the site's limit."""
        if self.window < most:
            self.window += 1
