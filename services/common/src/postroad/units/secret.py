"""What nobody may read: a password, a token, a key."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no log, repr or error ever shows; `reveal` hands it to what needs it."""

    _text: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text
