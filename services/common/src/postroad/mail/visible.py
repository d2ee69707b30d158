"""
Makes untrusted text safe to show to a person: at a terminal, in a log, a notification or a status.

Text from peers and clients may hold escape sequences, which a terminal executes, or bidirectional
controls, which change the order in which text is displayed (CVE-2021-42574). All code that shows
such text to a person passes it through this module.
"""


def visible(text: str) -> str:
    """
    Return text with every invisible character escaped: `\\x1b` for an escape.

    Those are the characters that Python calls not printable: controls, line and paragraph
    separators, bidirectional and other formatting characters, blanks other than the space, and lone
    surrogates.
    """
    return text if text.isprintable() else "".join(map(_shown, text))


def visible_lines(text: str) -> str:
    """Do the same for a text of several lines; line ends stay, and tabs become spaces."""
    return "\n".join(visible(line.expandtabs(4)) for line in text.split("\n"))


def visible_json(text: str) -> str:
    """Return a JSON text with the same characters in JSON's escapes: its value is unchanged."""
    return text if text.isprintable() else "".join(map(_shown_in_json, text))


def _shown(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")


def _shown_in_json(char: str) -> str:
    if char.isprintable():
        return char
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
