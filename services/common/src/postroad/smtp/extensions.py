"""What a server announced in its EHLO reply (RFC 5321 §4.1.1.1), as one value."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extensions:
    """The announced extensions that matter to a client. `size` None: no limit was told."""

    size: int | None = None
    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    starttls: bool = False
    dsn: bool = False
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, lines: Sequence[str]) -> "Extensions":
        """Read the lines of an EHLO reply; the first is a greeting, unknown words are passed."""
        words: dict[str, list[str]] = {}
        for text in lines[1:]:
            # Old servers write AUTH=LOGIN for clients that are older still.
            name, *arguments = text.replace("=", " ", 1).split() or [""]
            words.setdefault(name.upper(), []).extend(argument.upper() for argument in arguments)
        size = next((int(word) for word in words.get("SIZE", []) if word.isdecimal()), 0)
        return cls(
            size=size or None,  # RFC 1870 §4: 0 means that no fixed limit is in force
            pipelining="PIPELINING" in words,
            eight_bit="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            starttls="STARTTLS" in words,
            dsn="DSN" in words,
            auth=frozenset(words.get("AUTH", [])),
        )
