"""The kinds of orders for queued mail, and the help text of each."""

from dataclasses import dataclass

from postroad.spool.selection import WaitKind


@dataclass(frozen=True, slots=True)
class OrderAction:
    """A kind of order; one with a `warning` cannot be undone and always asks first."""

    name: str
    help: str
    kinds: frozenset[WaitKind]
    example: str
    warning: str = ""


_COVERS = (
    "The order applies to mail that is in the queue now, and not to mail that arrives later. Mail"
    " that is being sent at this moment may still go out."
)
_ALONE = (
    "With --to the order applies to that recipient alone: for all others the message continues as"
    " if nothing had been ordered."
)
_TOGETHER = (
    "With --to the order applies to the whole message at that recipient's domain, so also to its"
    " other recipients there; they are counted."
)
ACTIONS = (
    OrderAction(
        "retry",
        "Try deferred mail now instead of at its next retry."
        f"\n\nIf that try fails, the retry schedule continues. {_TOGETHER} {_COVERS}",
        frozenset({WaitKind.DEFERRED}),
        "--domain example.net",
    ),
    OrderAction(
        "hold",
        "Hold mail until `queue release`; after 30 days it is released automatically."
        f"\n\n{_TOGETHER} {_COVERS}",
        frozenset({WaitKind.READY, WaitKind.DEFERRED}),
        "--from shop@example.com --reason 'ticket 5'",
    ),
    OrderAction(
        "release",
        f"Release held mail for delivery.\n\n{_TOGETHER}",
        frozenset({WaitKind.HELD}),
        "--all",
    ),
    OrderAction(
        "bounce",
        "Give mail up: its senders get a delivery status notification."
        f"\n\n{_ALONE} {_COVERS}"
        " The command counts the mail and asks first; a script needs --yes.",
        frozenset(WaitKind),
        "--id 01JDX3M8Q2V5K7T9W4Y6Z8ABCD --reason 'wrong list'",
        "the senders are notified",
    ),
    OrderAction(
        "delete",
        "Remove mail without a notification, as after a spam run with forged senders."
        f"\n\nThe history (`postroad events`) keeps a record of it. {_ALONE} {_COVERS}"
        " The command counts the mail and asks first; a script needs --yes.",
        frozenset(WaitKind),
        "--client shop/news --reason 'stolen login' --dry-run",
        "nobody is notified, and it cannot be had back",
    ),
)
