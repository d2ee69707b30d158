"""Logging in at the sink: AUTH PLAIN and AUTH LOGIN (RFC 4954), for one user."""

import base64
import binascii
from collections.abc import Callable

_FAILED = b"535 5.7.8 wrong user or password\r\n"
_USER = base64.b64encode(b"Username:")
_PASSWORD = base64.b64encode(b"Password:")


class SinkLogin:
    """One session's login: lines in, replies out; `pending` while it waits for a line."""

    def __init__(self, user: str, password: str) -> None:
        self._wanted = (user.encode(), password.encode())
        self._next: Callable[[bytes], bytes] | None = None
        self._user = b""
        self.done = False

    @property
    def pending(self) -> bool:
        """Whether the next line belongs to the login."""
        return self._next is not None

    def begin(self, line: bytes) -> bytes:
        """Answer an AUTH command."""
        if self.done:
            return b"503 5.5.1 logged in already\r\n"
        _, mechanism, response = [*line.split(), b"", b""][:3]
        match mechanism.upper():
            case b"PLAIN":
                return self._plain(response) if response else self._ask(b"", self._plain)
            case b"LOGIN":
                return self._name(response) if response else self._ask(_USER, self._name)
        return b"504 5.5.4 only PLAIN and LOGIN\r\n"

    def answer(self, line: bytes) -> bytes:
        """Answer the client's response to a challenge."""
        step, self._next = self._next, None
        assert step is not None
        return b"501 5.7.0 given up\r\n" if line == b"*" else step(line)

    def _ask(self, prompt: bytes, then: Callable[[bytes], bytes]) -> bytes:
        self._next = then
        return b"334 %b\r\n" % prompt

    def _plain(self, line: bytes) -> bytes:
        _, _, rest = _decoded(line).partition(b"\0")
        user, _, password = rest.partition(b"\0")
        return self._check(user, password)

    def _name(self, line: bytes) -> bytes:
        self._user = _decoded(line)
        return self._ask(_PASSWORD, lambda password: self._check(self._user, _decoded(password)))

    def _check(self, user: bytes, password: bytes) -> bytes:
        self.done = (user, password) == self._wanted
        return b"235 2.7.0 logged in\r\n" if self.done else _FAILED


def _decoded(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error:
        return b""
