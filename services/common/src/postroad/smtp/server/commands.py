"""
Parses a client's command lines into verb, path and ESMTP parameters. No I/O.

It accepts what RFC 5321 §4.1 allows, and also spaces after `FROM:` and `TO:`, which real clients
write.
"""

import re

from postroad.mail.valueclass import valueclass

_PATH = re.compile(
    r"(FROM|TO):[ \t]*(<(?:\"(?:\\.|[^\"\\])*\"|[^<>\"])*>)(?:[ \t]+(.*))?", re.I | re.S
)
# Old devices write the path without brackets.
_BARE_PATH = re.compile(
    r"(FROM|TO):[ \t]*((?:\"(?:\\.|[^\"\\])*\"|[^<>\"\s])+)(?:[ \t]+(.*))?", re.I | re.S
)
# The argument of these decides nothing, and old clients write it in a local charset.
_NAMING = frozenset({b"EHLO", b"HELO", b"NOOP", b"HELP"})
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)(?:=([^\s=\x00-\x1f\x7f]+))?")
# As a number: searching bytes for an integer takes a tenth of the time of searching for bytes.
(_NUL,) = b"\0"
_LONGEST_SHOWN = 320  # octets: an address's 64, an @ and 255


_VERB = re.compile(rb"[A-Za-z][A-Za-z0-9-]*(?=[ \t]|\Z)")
# All verbs of SMTP and its extensions, and LMTP's LHLO, which comes when a client has the wrong
# port. Private verbs begin with X; so does the text with which some firewalls overwrite EHLO.
_VERBS = frozenset(
    b"HELO EHLO LHLO MAIL RCPT DATA BDAT BURL RSET VRFY EXPN HELP NOOP QUIT STARTTLS AUTH"
    b" SEND SOML SAML TURN ATRN ETRN".split()
)


class CommandSyntaxError(ValueError):
    """A command line is malformed; the error's text is for the peer."""


@valueclass(frozen=True, slots=True)
class PathArgument:
    """The argument of MAIL or RCPT: the path in its brackets, parameters by name in capitals."""

    path: str
    parameters: dict[str, str]


def may_open(octets: bytes, *, whole: bool) -> bool:
    """
    Whether a connection may begin with this line, or (if not `whole`) with this part of a line.

    This keeps other protocols out: their first line may be followed by lines that are valid SMTP,
    as in the body of a browser's POST.
    """
    line = octets[:64].strip(b" \t\r\n")
    if not whole:
        return line[:1].isalpha() or not line
    verb = _VERB.match(line)
    return not line or (verb is not None and _is_verb(verb[0].upper()))


def _is_verb(verb: bytes) -> bool:
    return verb in _VERBS or verb.startswith(b"X")


def read_command(line: bytes) -> tuple[str, str]:
    """
    Split a line, as `take_line` returns it, into a verb in capitals and the rest.

    CommandSyntaxError for a NUL or invalid UTF-8.
    """
    if _NUL in line:
        raise CommandSyntaxError("a command has a control character")
    try:
        text = line.decode("ascii" if line.isascii() else "utf-8")
    except UnicodeDecodeError as error:
        if line[:4].upper() not in _NAMING:
            raise CommandSyntaxError("a command is not UTF-8") from error
        text = line.decode("utf-8", "replace")
    verb, _, argument = text.partition(" ")
    return verb.rstrip().upper(), argument.strip(" \t")


def read_path(keyword: str, argument: str, *, bare: bool = False) -> PathArgument:
    """
    Read `FROM:<path> NAME=value …`; CommandSyntaxError for anything else.

    With `bare` the path may lack its brackets, unless it is empty. It is returned with brackets.
    """
    match = _PATH.fullmatch(argument)
    if match is None and bare:
        match = _BARE_PATH.fullmatch(argument)
    if match is None or match[1].upper() != keyword:
        raise CommandSyntaxError(f"syntax: {keyword}:<address>")
    parameters: dict[str, str] = {}
    for word in (match[3] or "").split():
        parameter = _PARAMETER.fullmatch(word)
        if parameter is None:
            raise CommandSyntaxError("a parameter is malformed")
        name = parameter[1].upper()
        if name in parameters:
            raise CommandSyntaxError(f"{name} is given twice")
        parameters[name] = parameter[2] or ""
    path = match[2]
    return PathArgument(path if path.startswith("<") else f"<{path}>", parameters)


def path_in(argument: str) -> str:
    """Return the address in an argument of MAIL or RCPT, well formed or not, to be shown."""
    start, end = argument.find("<"), argument.rfind(">")
    path = argument[start + 1 : end] if 0 <= start < end else argument
    return path[:_LONGEST_SHOWN]
