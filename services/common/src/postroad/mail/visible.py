"""
Text from outside, as a person may see it: at a terminal, in a log, a notification or a status.

What peers and clients say may hold escape sequences, which a terminal obeys, or bidirectional
controls, which show a text in another order than it has (CVE-2021-42574). Every place that shows
such text to a person sends it through here.
"""


def visible(text: str) -> str:
    """
    Return text with every character escaped that would not be seen: `\\x1b` for an escape.

    Controls, line and paragraph separators, bidirectional and other formatting characters, blanks
    other than the space, and lone surrogates are what Python calls not printable.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def visible_lines(text: str) -> str:
    """Return a text of several lines the same way; line ends stay, and tabs become blanks."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.split("\n"))


def visible_json(text: str) -> str:
    """Return a JSON text with the same characters escaped as JSON does it: nothing is lost."""
    return text if text.isprintable() else "".join(map(_shown_in_json, text))


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _shown_in_json(char: str) -> str:
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
