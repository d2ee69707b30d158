"""
Entry point of the `postroad` command: every failure is one sentence and an exit code.

Nothing of weight is imported before `main` runs, so that Ctrl-C ends the command in silence from
its first moment on.
"""

import errno
import os
import sys

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def main() -> None:
    """Run the command named on the command line."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)  # 128 and the number of SIGINT, as shells say it


def _run() -> None:
    from postroad.cli.app import app
    from postroad.cli.errors import CommandError
    from postroad.process.errors import StartupError

    try:
        app()  # Typer reports wrong usage itself and exits with 2
    except CommandError as failure:
        _end(f"postroad: {failure}", failure.code)
    except StartupError as error:
        _end(f"postroad: {error}", 1)
    except BrokenPipeError:
        # The reader has seen enough (`postroad events | head`); Python must not complain at exit.
        _print_no_more()
        sys.exit(0)
    except OSError as error:
        if error.errno not in _FULL:
            raise
        _print_no_more()
        _end(f"postroad: the output cannot be written: {os.strerror(error.errno)}", 1)


def _print_no_more() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _end(sentence: str, code: int) -> None:
    from postroad.mail.visible import visible_lines

    print(visible_lines(sentence), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
