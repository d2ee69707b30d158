"""Entry point of the `postroad` command: every failure is one sentence and an exit code."""

import os
import sys

from postroad.cli import queue
from postroad.cli.check import check
from postroad.cli.demo import demo
from postroad.cli.errors import Failure
from postroad.cli.events import events
from postroad.cli.help import Commands
from postroad.cli.load import load
from postroad.cli.send import send
from postroad.cli.sink import sink
from postroad.cli.status import status
from postroad.cli.up import up
from postroad.cli.version import print_version
from postroad.mail.visible import visible_lines
from postroad.runtime.errors import StartupError

app = Commands(
    name="postroad",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A mail relay that runs as a cluster: accepts mail, keeps it in JetStream, delivers it.",
    epilog="Start with [bold]postroad up[/bold]; it prints how to send a first message.",
)
app.callback()(print_version)
app.command()(up)
app.command()(check)
app.command()(send)
app.command()(load)
app.command()(sink)
app.command()(status)
app.add_typer(queue.app, name="queue")
app.command()(events)
app.command()(demo)


def main() -> None:
    """Run the command named on the command line."""
    try:
        app()  # Typer reports wrong usage itself and exits with 2
    except Failure as failure:
        _end(f"postroad: {failure}", failure.code)
    except StartupError as error:
        _end(f"postroad: {error}", 1)
    except BrokenPipeError:
        # The reader has seen enough (`postroad events | head`); Python must not complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


def _end(sentence: str, code: int) -> None:
    print(visible_lines(sentence), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
