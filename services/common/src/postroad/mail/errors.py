"""The errors of parsing a mail value."""


class MailError(ValueError):
    """Base of every error of this package; its text is safe to show to a peer."""


class AddressSyntaxError(MailError):
    """A path, mailbox or domain does not follow RFC 5321 §4.1.2."""


class DomainMissingError(AddressSyntaxError):
    """A path holds a local part alone."""


class StatusSyntaxError(MailError):
    """A text is not an enhanced status code (RFC 3463 §2)."""
