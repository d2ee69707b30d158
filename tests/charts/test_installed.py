"""What `helm test` runs: it accepts a relay with and without objects, and rejects anything else."""

import runpy
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroad.ingress.listen.certificate import self_signed
from postroad_harness.cluster.chart import CHART

Look = Callable[[str], str]


@pytest.fixture(scope="module")
def look() -> Look:
    found: Look = runpy.run_path(str(CHART / "files" / "installed.py"))["look"]
    return found


@contextmanager
def greeter(greeting: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """Greet one client so, take what it says, and give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
            with connection:
                connection.sendall(greeting)
                while connection.recv(4096):
                    connection.sendall(b"221 bye\r\n")

        thread = threading.Thread(target=greet)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            thread.join()


@pytest.mark.parametrize("greeting", ["220 relay ESMTP", "421 4.3.2 not configured yet"])
def test_a_relay_with_or_without_objects_is_one(look: Look, greeting: str) -> None:
    with greeter(f"{greeting}\r\n".encode()) as port:
        assert greeting.startswith(look(f"smtp://127.0.0.1:{port}"))


def test_a_port_that_begins_with_tls_is_asked_so(look: Look, tmp_path: Path) -> None:
    context = self_signed(tmp_path, "relay.example.com").context.in_force
    with greeter(b"421 4.3.2 not configured yet\r\n", context) as port:
        assert look(f"smtps://127.0.0.1:{port}") == "421 4.3.2 not configured yet"


def test_anything_else_is_told(look: Look) -> None:
    with greeter(b"554 go away\r\n") as port, pytest.raises(OSError, match="554 go away"):
        look(f"smtp://127.0.0.1:{port}")
