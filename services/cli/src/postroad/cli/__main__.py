"""
Entry point of the `postroad` command. It reports each failure as one sentence and an exit code.

Few modules are imported before `main` runs, so that Ctrl-C never shows a traceback, not even while
the command starts.
"""

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from postroad.process.machine.standard_streams import prepare_streams

# EBADF: standard output was closed (`>&-`).
_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EBADF)


def main() -> None:
    """Run the command named on the command line."""
    try:
        prepare_streams()
        _run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 plus the number of SIGINT, as shells do


def _run() -> None:
    from postroad.cli.app import app
    from postroad.cli.errors import CommandError
    from postroad.mail.visible import visible_lines
    from postroad.process.errors import NO_DESCRIPTORS, StartupError, lacks_descriptors

    try:
        _run_and_flush(app)  # Typer reports wrong usage itself and exits with 2
    except CommandError as failure:
        _end(visible_lines(f"postroad: {failure}"), failure.code)
    except StartupError as error:
        _end(visible_lines(f"postroad: {error}"), 1)
    except BrokenPipeError:
        # The reader has closed the pipe (`postroad events | head`): no error at exit.
        _print_no_more()
        sys.exit(0)
    except OSError as error:
        if lacks_descriptors(error):
            _end(f"postroad: {NO_DESCRIPTORS}", 1)
        if error.errno not in _CANNOT_WRITE:
            raise
        _print_no_more()
        _end(f"postroad: the output cannot be written: {os.strerror(error.errno)}", 1)


def _run_and_flush(command: Callable[[], None]) -> None:
    """
    Run a command, and write what it has printed: at the exit of Python a failure comes too late.

    If the command fails, that is its exit code, whether or not its output can be written.
    """
    try:
        command()
    except BaseException as end:
        try:
            sys.stdout.flush()
        except OSError:
            if isinstance(end, SystemExit) and not end.code:
                raise
            _print_no_more()
        raise
    sys.stdout.flush()


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence: str, code: int) -> NoReturn:
    print(sentence, file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
