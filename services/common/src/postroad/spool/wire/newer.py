"""
Keeps what a newer release has added to a message of the queue, also within its parts.

An older process may defer mail that a newer one has stored. It writes back the octets of all fields
that it does not know, with the value that they belong to: what replaces the value has none.
"""

from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet


def unknown_in(message: Message) -> bytes:
    """Return the octets of a message's own fields that this release does not know."""
    if not len(UnknownFieldSet(message)):
        return b""
    rest = message.__class__()
    rest.CopyFrom(message)
    for field, _ in message.ListFields():
        rest.ClearField(field.name)
    return rest.SerializeToString()
