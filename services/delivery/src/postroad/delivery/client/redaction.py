"""
A peer's words without the login that they repeat.

Some hosts say again what they refuse, as a reply or as a line that is none. What a host says is
shown to whoever may see the queue or the log, and in the end to the sender of the mail.
"""

import re
from dataclasses import replace

from postroad.policy.model import Credentials
from postroad.smtp import command
from postroad.smtp.reply import Reply

# What may be base64, or the beginning of it; in quotes an escape such as \\x01 may stand before it.
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=]{6,}")
_SHORTEST = 6  # what is shorter tells nothing, and may be any word
_HIDDEN = "***"


class Redaction:
    """Takes a login out of text: its password as it is, and what was said of it in base64."""

    def __init__(self, credentials: Credentials) -> None:
        user, password = credentials.username, credentials.password
        encoded = (command.encoded(f"\0{user}\0{password}"), command.encoded(password))
        # A host may repeat it in capitals.
        self._encoded = tuple(each.casefold() for each in encoded)
        plain = {password, repr(password)[1:-1]} - {""}
        self._plain = re.compile("|".join(map(re.escape, plain)) or r"(?!)", re.IGNORECASE)

    def of_text(self, text: str) -> str:
        """Return text that may hold the peer's words, without the login."""
        return _LONG_WORD.sub(self._shown, self._plain.sub(_HIDDEN, text))

    def of_reply(self, reply: Reply) -> Reply:
        """Return a reply without the login."""
        return replace(reply, lines=tuple(map(self.of_text, reply.lines)))

    def _shown(self, word: re.Match[str]) -> str:
        text, start, kept = word[0], 0, ""
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
