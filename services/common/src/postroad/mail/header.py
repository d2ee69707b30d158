"""The header block of a message: its fields as octets, bounded."""

HEADER_LIMIT = 64 * 1024  # octets; what is longer serves nobody who reads a report


def header_block(content: bytes) -> bytes:
    """Return a message's header fields with their line ends, without the empty line after them."""
    if content.startswith(b"\r\n"):
        return b""
    end = content.find(b"\r\n\r\n", 0, HEADER_LIMIT)
    return content[: end + 2 if end >= 0 else HEADER_LIMIT]
