"""Which orders there are on mail in the queue, and what is said of each."""

from dataclasses import dataclass

from postroad.spool.selection import WaitKind


@dataclass(frozen=True, slots=True)
class OrderAction:
    """A kind of order; `warning` says what cannot be undone: then it is always asked first."""

    name: str
    help: str
    kinds: frozenset[WaitKind]
    example: str
    warning: str = ""


_COVERS = (
    "It covers mail that is in the queue now: what arrives later is not meant. Mail that is being"
    " sent at this moment may still go out."
)
_ALONE = (
    "With --to it is about that recipient alone: the message goes on to all others, as if nothing"
    " had been ordered."
)
_TOGETHER = (
    "With --to it is about the whole message at that recipient's domain, so also about its other"
    " recipients there; they are counted."
)
ACTIONS = (
    OrderAction(
        "retry",
        "Try deferred mail now, and not when its next try is due."
        f"\n\nIf that try fails, its schedule goes on. {_TOGETHER} {_COVERS}",
        frozenset({WaitKind.SCHEDULED}),
        "--domain example.net",
    ),
    OrderAction(
        "hold",
        "Hold mail: it waits for `queue release`, 30 days at most, and is then released by itself."
        f"\n\n{_TOGETHER} {_COVERS}",
        frozenset({WaitKind.READY, WaitKind.SCHEDULED}),
        "--from shop@example.com --reason 'ticket 5'",
    ),
    OrderAction(
        "release", f"Let held mail go on.\n\n{_TOGETHER}", frozenset({WaitKind.HELD}), "--all"
    ),
    OrderAction(
        "bounce",
        "Give mail up: its senders get a delivery status notification."
        f"\n\n{_ALONE} {_COVERS}"
        " What fits is counted and asked about first; a script says --yes.",
        frozenset(WaitKind),
        "--id 01JDX3M8Q2V5K7T9W4Y6Z8ABCD --reason 'wrong list'",
        "the senders are notified",
    ),
    OrderAction(
        "delete",
        "Remove mail and tell nobody, as after a spam run from a stolen login, whose senders are"
        " forged."
        f"\n\nThe history (`postroad events`) keeps that it was there. {_ALONE} {_COVERS}"
        " What fits is counted and asked about first; a script says --yes.",
        frozenset(WaitKind),
        "--client shop/news --reason 'stolen login' --dry-run",
        "nobody is notified, and it cannot be had back",
    ),
)
