"""Which user's program has accepted a connection, as the kernel reports it."""

import os
import socket
import sys

import pytest

from postroad.spool.jetstream.nats.loopback import peer_uid, uid_in

OWN, PEER = ("127.0.0.1", 40000), ("127.0.0.1", 4222)
HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout"
# The two ends of a connection; its own end is root's. Addresses are in the machine's byte order.
HERE = "0100007F" if sys.byteorder == "little" else "7F000001"
ROWS = """
   0: {here}:9C40 {here}:107E 01 00000000:00000000 00:00000000 00000000     0        0 711 1 0
   1: {here}:107E {here}:9C40 {state} 00000000:00000000 00:00000000 00000000  {uid}  0 {inode} 1
"""


@pytest.mark.parametrize(
    ("state", "inode", "owner"),
    [("01", 712, 65534), ("01", 0, None), ("08", 712, None)],
    ids=["accepted", "not accepted", "closed by its peer"],
)
def test_the_table_names_the_owner_of_an_end_that_was_accepted(
    state: str, inode: int, owner: int | None
) -> None:
    table = HEAD + ROWS.format(here=HERE, state=state, uid=65534, inode=inode)
    assert uid_in(table, OWN, PEER) == owner
    assert uid_in(table, OWN, ("127.0.0.1", 4223)) is None


def test_a_connection_has_an_owner_once_it_is_accepted_and_until_it_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        own, peer = client.getsockname(), client.getpeername()
        assert peer_uid(own, peer) is None
        accepted, _ = listener.accept()
        assert peer_uid(own, peer) == os.geteuid()
        accepted.close()
        assert peer_uid(own, peer) is None
