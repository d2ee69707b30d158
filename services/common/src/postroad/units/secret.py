"""A text that must not be shown: a password, a token, a key."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Secret:
    """A text that no log, repr or error shows; `reveal` returns it to the code that needs it."""

    _text: str = field(repr=False)

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._text
