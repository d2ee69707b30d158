"""`postroad queue`: look at the mail that waits, and order what becomes of it, cluster-wide."""

from postroad.cli.help import Commands
from postroad.cli.queue_actions import ACTIONS
from postroad.cli.queue_listing import list_queue
from postroad.cli.queue_orders import order_command
from postroad.cli.queue_show import show
from postroad.cli.queue_standing import cancel, orders
from postroad.cli.queue_suspension import resume, suspend

app = Commands(
    no_args_is_help=True,
    help="Look at the queue and give orders on it, for the whole cluster at once.",
)
app.command("list")(list_queue)
app.command("show")(show)
for action in ACTIONS:
    app.command(action.name)(order_command(action))
app.command("suspend")(suspend)
app.command("resume")(resume)
app.command("orders")(orders)
app.command("cancel")(cancel)
