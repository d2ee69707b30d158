"""The size limits of a message to the queue's servers, which refuse larger ones."""

MAX_PAYLOAD = 2 * 1024 * 1024  # octets with headers: the `max_payload` of Postroad's own servers
HEADROOM = 64 * 1024  # octets for headers, and for what is stored with a value


def largest_value(max_payload: int) -> int:
    """Return the octets of the largest value that servers with this `max_payload` store."""
    return max_payload - HEADROOM


LARGEST_VALUE = largest_value(MAX_PAYLOAD)
