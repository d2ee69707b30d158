"""Parses JetStream's answers to a publish: the sequence, or an error of `spool.errors`."""

import json
import re
from typing import NamedTuple

from postroad.spool.errors import ClaimLost, PublishRefused, SpoolFull, SpoolUnavailable
from postroad.spool.jetstream.nats.incoming import Incoming

# The error codes of JetStream that matter here; the HTTP-like status does not.
_FULL = frozenset({10002, 10023, 10047, 10077})
_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_ALREADY_STORED = 10201
_BUSY = frozenset({10167, 10210})  # too many messages, or batches, are under way in the stream

# The usual answer is {"stream":"POSTROAD_Q_0", "seq":22, "duplicate":true}; this is faster than
# JSON.
_PLAIN_ACK = re.compile(rb'\{"stream":"[^"]*", ?"seq":(\d+)')
_DUPLICATE = b'"duplicate"'


class Acknowledged(NamedTuple):
    """A publish is stored; `sequence` is 0 where the answer has none."""

    sequence: int
    repeated: bool  # an earlier try stored it, and this one changed nothing


def acknowledged(answer: Incoming) -> Acknowledged:
    """Return the acknowledgement of a publish; raise the error in the answer."""
    match = _PLAIN_ACK.match(answer.data)
    if match is not None:
        return Acknowledged(int(match[1]), answer.data.find(_DUPLICATE, match.end()) > 0)
    sequence = check_ack(answer)
    return Acknowledged(sequence, sequence == 0)


def check_ack(answer: Incoming) -> int:
    """Return the sequence of an acknowledgement, 0 without one; raise the error in the answer."""
    if not answer.data:
        return 0
    try:
        said = json.loads(answer.data)
        error = said.get("error")
    except (ValueError, AttributeError) as failure:
        raise SpoolUnavailable("the queue's answer cannot be read") from failure
    if error is None:
        return int(said.get("seq", 0))
    code = int(error.get("err_code", 0))
    text = f"{error.get('description', '')} ({code})"
    if code == _ALREADY_STORED:
        return 0  # all ids of a batch belong to one message, so the whole batch is stored
    if code in _FULL:
        raise SpoolFull(text, code=code)
    if code in _WRONG_LAST_SEQUENCE:
        raise ClaimLost(text, code=code)
    if code in _BUSY:
        raise PublishRefused(text, code=code)
    raise SpoolUnavailable(text, code=code)
