"""The end of a session, as an exception that any command may raise."""

from postroad.smtp.reply import Reply


class Hangup(Exception):
    """The session is over: say this, if anything, and close. `told`: the history has it already."""

    def __init__(self, reply: Reply | None = None, *, told: bool = False) -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.told = told
