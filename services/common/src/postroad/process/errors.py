"""Errors that keep a process from running, with texts for the person who starts it."""

import errno

NO_DESCRIPTORS = (
    "no file descriptors are left; raise the limit of open files"
    " (ulimit -Hn, LimitNOFILE; fs.file-max for the whole machine)"
)


def lacks_descriptors(error: BaseException) -> bool:
    """Whether a limit of open files is reached: of the process, or of the whole machine."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


class SettingsError(Exception):
    """
    The environment has settings that cannot be used; `problems` has a sentence for each.

    The text is a block for the terminal. It never has a secret's value.
    """

    def __init__(self, problems: tuple[str, ...]) -> None:
        self.problems = problems
        count = "one setting" if len(problems) == 1 else f"{len(problems)} settings"
        listed = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"{count} cannot be used:{listed}")


class StartupError(Exception):
    """
    A process cannot start, for a reason that a person can fix: one sentence with what to do.

    The sentence is printed without a traceback, and the process ends with exit code `code`.
    """

    def __init__(self, sentence: str, *, code: int = 1) -> None:
        super().__init__(sentence)
        self.code = code
