"""What a person at the terminal is told when a command cannot go on."""


class CommandError(Exception):
    """One sentence that says what is wrong and what to do; the command exits with `code`."""

    def __init__(self, sentence: str, *, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code
