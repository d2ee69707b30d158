"""`postroad queue`: look at the mail that waits, and order what becomes of it, cluster-wide."""

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
        "Try deferred mail now, and not when its next try is due.",
        "postroad.cli.queue.orders:retry",
    ),
    CommandEntry(
        "hold",
        "Hold mail: it waits for `queue release`, 30 days at most, and is then released by itself.",
        "postroad.cli.queue.orders:hold",
    ),
    CommandEntry("release", "Let held mail go on.", "postroad.cli.queue.orders:release"),
    CommandEntry(
        "bounce",
        "Give mail up: its senders get a delivery status notification.",
        "postroad.cli.queue.orders:bounce",
    ),
    CommandEntry(
        "delete",
        "Remove mail and tell nobody, as after a spam run from a stolen login, whose senders are"
        " forged.",
        "postroad.cli.queue.orders:delete",
    ),
    CommandEntry(
        "suspend",
        "Suspend delivery of some mail for a time: what waits, and what is accepted meanwhile.",
        "postroad.cli.queue.suspension:suspend",
    ),
    CommandEntry(
        "resume",
        "End a suspension, named by the options that it was given by, and try its mail now.",
        "postroad.cli.queue.suspension:resume",
    ),
    CommandEntry(
        "orders",
        "List the orders in force: what each means, how much it has changed, and when it ends.",
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
