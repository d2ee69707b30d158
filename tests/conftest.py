"""
For all tests: settings that must not depend on chance or on who started the tests.

And what tests of several folders need: free ports, certificates of hosts.
"""

import signal
import ssl
from itertools import count
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings

from postroad.ingress.listen.certificate import self_signed
from postroad.testing.peers.certificates import Vouched, vouched_for
from postroad.testing.queue.nats_server import free_ports

# How fast an example runs, and how fast it is drawn, is the machine's affair.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

# A shell that starts them in the background has them ignore Ctrl-C, and so would all they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# And under nohup they would ignore that a terminal closes.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture
def unused_tcp_port() -> int:
    """Return a port where nobody listens, and nobody will whom the system gives a port."""
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="session")
def mx_tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """Give a server's context with a self-signed certificate."""
    return self_signed(tmp_path_factory.mktemp("tls"), "mx.test").context


@pytest.fixture(scope="session")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> Vouched:
    """Give a certificate that is good for mx.test."""
    return vouched_for(tmp_path_factory.mktemp("vouched"), "mx.test")


@pytest.fixture(autouse=True)
def _numbered_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Number the sessions that a test opens; of any two of the first 13 each owns some of 8 lanes.

    By ids that are drawn, one of two owns all of them once in 128 times, and nothing moves.
    """
    numbers = count(1)
    monkeypatch.setattr("postroad.spool.jetstream.spool.uuid4", lambda: UUID(int=next(numbers)))
