"""The extensions that a server announced in its EHLO reply (RFC 5321 §4.1.1.1), as one value."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extensions:
    """
    The announced extensions that matter to a client.

    `size`, `most_recipients` and `most_messages` (RFC 9422) are None without an announced limit.
    """

    size: int | None = None
    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    auth: frozenset[str] = frozenset()
    most_recipients: int | None = None
    most_messages: int | None = None

    @classmethod
    def parse(cls, lines: Sequence[str]) -> "Extensions":
        """Read the lines of an EHLO reply; the greeting and unknown keywords are ignored."""
        words: dict[str, list[str]] = {}
        for text in lines[1:]:
            head, *arguments = text.split() or [""]
            # Some servers also write AUTH=LOGIN, for old clients.
            name, equals, first = head.partition("=")
            arguments = [first, *arguments] if equals else arguments
            words.setdefault(name.upper(), []).extend(argument.upper() for argument in arguments)
        size = next((int(word) for word in words.get("SIZE", []) if _is_number(word)), 0)
        limits = dict(word.partition("=")[::2] for word in words.get("LIMITS", []))
        return cls(
            size=size or None,  # RFC 1870 §4: 0 means that no fixed limit is in force
            pipelining="PIPELINING" in words,
            eight_bit="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            starttls="STARTTLS" in words,
            dsn="DSN" in words,
            auth=frozenset(words.get("AUTH", [])),
            most_recipients=_limit(limits.get("RCPTMAX", "")),
            most_messages=_limit(limits.get("MAILMAX", "")),
        )


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) < 20


def _limit(word: str) -> int | None:
    """Return a limit of RFC 9422 §4, None when it is missing, zero or malformed."""
    return (int(word) or None) if _is_number(word) else None
