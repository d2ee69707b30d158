"""What can keep a process from running, said to a person and not to a debugger."""


class SettingsError(Exception):
    """
    The environment holds settings that cannot be used; `problems` has a sentence for each.

    Its text is one block for the terminal. No secret's value is ever in it.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        count = "one setting" if len(problems) == 1 else f"{len(problems)} settings"
        listed = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{count} cannot be used:{listed}")


class StartupError(Exception):
    """
    A process cannot start, for a reason that a person can mend: one sentence with what to do.

    It is printed as it is, without a traceback, and the process ends with exit code `code`.
    """

    def __init__(self, sentence: str, *, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code
