"""
Leaves out libraries that other libraries load when they find them, and that no mail needs.

nats-py loads aiohttp, for NATS over WebSocket, and structlog loads rich, for coloured tracebacks.
Both are installed where `postroad up` runs, as the command uses them. In ingress and delivery they
would take a third of the time to start and a fifth of the memory.
"""

import sys


def leave_out(*names: str) -> None:
    """
    Let each import of these libraries fail as if they were not installed.

    It has to come before the first import of what loads them. None in `sys.modules` stands for a
    module that cannot be found (Python's reference, 5.3.1).
    """
    for name in names:
        if name in sys.modules:
            raise RuntimeError(f"{name} is loaded already")
        sys.modules[name] = None  # type: ignore[assignment]
