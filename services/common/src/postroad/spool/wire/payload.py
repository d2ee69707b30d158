"""How much one message to the queue's servers may be; a larger one they would never take."""

MAX_PAYLOAD = 2 * 1024 * 1024  # octets, headers counted: `max_payload` of our own servers
HEADROOM = 64 * 1024  # octets for headers, and for what is stored beside a value


def largest_value(max_payload: int) -> int:
    """Return the octets of the largest value that servers with this `max_payload` store."""
    return max_payload - HEADROOM


LARGEST_VALUE = largest_value(MAX_PAYLOAD)
