"""Errors of an SMTP session: one of our own mistakes, or a peer that does not keep to SMTP."""


class LocalProtocolError(Exception):
    """Our code tried to send what the protocol forbids at this point: a bug."""


class RemoteProtocolError(Exception):
    """A peer sent what is not SMTP; nothing that it sends can be trusted any more."""
