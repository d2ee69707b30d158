"""The list of commands that `postroad queue --help` shows."""

from postroad.cli.terminal.help import CommandEntry, Commands

_ENTRIES = (
    CommandEntry(
        "list",
        "List what waits in the queue, oldest first, without taking it.",
        "postroad.cli.queue.listing:list_queue",
    ),
    CommandEntry(
        "show",
        "Show one message: its envelope, each recipient's state, and its content if asked for.",
        "postroad.cli.queue.show:show",
    ),
    CommandEntry(
        "retry",
        "Try deferred mail now instead of at its next retry.",
        "postroad.cli.queue.orders:retry",
    ),
    CommandEntry(
        "hold",
        "Hold mail until `queue release`; after 30 days it is released automatically.",
        "postroad.cli.queue.orders:hold",
    ),
    CommandEntry("release", "Release held mail for delivery.", "postroad.cli.queue.orders:release"),
    CommandEntry(
        "bounce",
        "Give mail up: its senders get a delivery status notification.",
        "postroad.cli.queue.orders:bounce",
    ),
    CommandEntry(
        "delete",
        "Remove mail without a notification, as after a spam run with forged senders.",
        "postroad.cli.queue.orders:delete",
    ),
    CommandEntry(
        "suspend",
        "Suspend delivery of some mail for a time, also of mail that is accepted meanwhile.",
        "postroad.cli.queue.suspension:suspend",
    ),
    CommandEntry(
        "resume",
        "End the suspension that was given with these options, and try its mail now.",
        "postroad.cli.queue.suspension:resume",
    ),
    CommandEntry(
        "orders",
        "List the orders in force: the mail of each, how much it has changed, and when it ends.",
        "postroad.cli.queue.standing:orders",
    ),
    CommandEntry(
        "cancel",
        "End an order before its time.",
        "postroad.cli.queue.standing:cancel",
    ),
)

app = Commands(_ENTRIES, no_args_is_help=True, add_completion=False)


@app.callback()
def queue() -> None:
    """Look at the queue and give orders on it, for the whole cluster at once."""
