"""What can be wrong in a conversation: with what we wanted to say, or with what a peer said."""


class LocalProtocolError(Exception):
    """We were about to say what must not be said: a mistake of ours."""


class RemoteProtocolError(Exception):
    """A peer said what is not SMTP; nothing it says can be relied on any more."""
