"""The error that ends a command with a sentence for the user."""


class CommandError(Exception):
    """One sentence that says what is wrong and what to do; the command exits with `code`."""

    def __init__(self, sentence: str, *, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code
