"""The list of commands that `postroad --help` shows. Each is loaded when it is used."""

from postroad.cli.terminal.help import CommandEntry, Commands
from postroad.cli.version import print_version

app = Commands(
    (
        CommandEntry("up", "Run the relay on this machine.", "postroad.cli.standalone.up:up"),
        CommandEntry(
            "check", "Check manifests without a running relay.", "postroad.cli.commands.check:check"
        ),
        CommandEntry("send", "Send one message by SMTP.", "postroad.cli.commands.send:send"),
        CommandEntry(
            "load", "Load a server with mail, and measure it.", "postroad.cli.load.command:load"
        ),
        CommandEntry(
            "sink",
            "Run an SMTP server that swallows mail, or keeps it.",
            "postroad.cli.sink.command:sink",
        ),
        CommandEntry(
            "status",
            "Show the cluster at a glance: its processes, its queue, the orders in force.",
            "postroad.cli.commands.status:status",
        ),
        CommandEntry(
            "queue",
            "Look at the queue and give orders on it, for the whole cluster at once.",
            "postroad.cli.queue.app:app",
        ),
        CommandEntry(
            "events",
            "Show what happened to mail, oldest first; with --follow in the order it becomes"
            " known.",
            "postroad.cli.commands.events:events",
        ),
        CommandEntry(
            "demo",
            "Show the relay at work: four messages and what becomes of each.",
            "postroad.cli.commands.demo:demo",
        ),
    ),
    name="postroad",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A mail relay that runs as a cluster: accepts mail, keeps it in JetStream, delivers it.",
    epilog="Start with [bold]postroad up[/bold]; it prints how to send a first message.",
)
app.callback()(print_version)
