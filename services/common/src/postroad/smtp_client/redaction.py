"""
A peer's words without the login that they repeat.

Some hosts say again what they refuse, in a reply or in a line that is none, at once or when they
greet the next session. What a host says is shown to whoever may see the queue or the log, and in
the end to the sender of the mail. So each text passes here whole: a secret that was cut is no match
any more.
"""

import re
from dataclasses import replace
from functools import lru_cache

from postroad.policy.model import Credentials
from postroad.smtp import command
from postroad.smtp.reply import Reply

# What may be base64, or the beginning of it; in quotes an escape such as \\x01 may stand before it.
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=]{6,}")
_SHORTEST = 6  # what is shorter tells nothing, and may be any word
_SHORT = 80  # characters; the replies to most commands are shorter, and recur with each message
_HIDDEN = "***"


class Redaction:
    """Takes a login out of text: its password as it is, and what is said of it in base64."""

    def __init__(self, credentials: Credentials) -> None:
        user, password = credentials.username, credentials.password
        encoded = (command.encoded(f"\0{user}\0{password}"), command.encoded(password))
        # A host may repeat it in capitals.
        self._encoded = tuple(each.casefold() for each in encoded)
        self._pieces = frozenset(piece for each in self._encoded for piece in _pieces(each))
        plain = {password, repr(password)[1:-1]} - {""}
        pattern = "|".join(map(_wrapped, plain)) or r"(?!)"
        self._plain = re.compile(pattern, re.IGNORECASE)
        self._of_short_text = lru_cache(maxsize=16)(self.of_text)

    def of_text(self, text: str) -> str:
        """Return text that may hold the peer's words, without the login."""
        return _LONG_WORD.sub(self._shown, self._plain.sub(_HIDDEN, text))

    def of_reply(self, reply: Reply) -> Reply:
        """Return a reply without the login; in one line if there was any of it."""
        text = reply.text
        shown = self._of_short_text(text) if len(text) <= _SHORT else self.of_text(text)
        return reply if shown == reply.text else replace(reply, lines=(shown,))

    def _shown(self, word: re.Match[str]) -> str:
        text, start, kept = word[0], 0, ""
        if self._pieces.isdisjoint(_pieces(text.casefold())):  # as nearly always
            return text
        while start < len(text):
            end = start + _SHORTEST
            if not self._repeats(text[start:end]):
                kept += text[start]
                start += 1
                continue
            while end < len(text) and self._repeats(text[start : end + 1]):
                end += 1
            kept += _HIDDEN
            start = end
        return kept

    def _repeats(self, part: str) -> bool:
        folded = part.casefold()
        return len(part) >= _SHORTEST and any(folded in each for each in self._encoded)


def _pieces(text: str) -> list[str]:
    return [text[start : start + _SHORTEST] for start in range(len(text) - _SHORTEST + 1)]


def _wrapped(secret: str) -> str:
    """Return a pattern for a secret that may be broken between two lines of a reply."""
    return r"\s?".join(map(re.escape, secret))
