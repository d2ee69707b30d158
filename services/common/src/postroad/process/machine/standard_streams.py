"""
Standard input, output and error of a process, whatever it was started with.

One that is closed (`2>&-`) is opened again. Otherwise the next file or socket would get its number,
and Python would have no stream to write to. Nothing can be read from or written to the new one, so
a command reports that its output is lost. Only standard error takes text: nobody could be told.

A character that the encoding lacks is written as an escape. In text such as `é` may come from any
peer, and must not end the command that shows it.
"""

import io
import os
import sys

_STREAMS = (("stdin", os.O_WRONLY, "r"), ("stdout", os.O_RDONLY, "w"), ("stderr", os.O_WRONLY, "w"))


def prepare_streams() -> None:
    """Open the standard streams that are closed, and let them take any character."""
    for name, flags, mode in _STREAMS:
        if getattr(sys, name) is None:
            # The lowest number is free: it is the one that is missing.
            number = os.open(os.devnull, flags)
            os.set_inheritable(number, True)  # as the streams of children
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115 - as long as we run
        stream = getattr(sys, name)
        if mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
