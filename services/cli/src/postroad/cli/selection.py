"""Which messages a queue command means, as options: shared by `queue` and its orders."""

from datetime import datetime
from typing import Annotated

import typer

from postroad.cli.errors import Failure
from postroad.mail.address import normalise_domain
from postroad.mail.errors import AddressSyntaxError
from postroad.spool.ids import RecordId, shard_of
from postroad.spool.selection import Selection, WaitKind

IdOption = Annotated[
    str | None, typer.Option("--id", metavar="QUEUE-ID", help="The message with this queue id.")
]
DomainOption = Annotated[
    str | None, typer.Option("--domain", metavar="DOMAIN", help="Mail to this domain.")
]
SenderOption = Annotated[
    str | None, typer.Option("--from", metavar="ADDRESS", help="Mail with this reverse-path.")
]
RecipientOption = Annotated[
    str | None, typer.Option("--to", metavar="ADDRESS", help="Mail to this recipient.")
]
ClientOption = Annotated[
    str | None,
    typer.Option("--client", metavar="NAMESPACE/NAME", help="Mail that this Client submitted."),
]


def build_selection(
    *,
    queue_id: str | None,
    domain: str | None,
    sender: str | None,
    recipient: str | None,
    client: str | None,
    kinds: frozenset[WaitKind] = frozenset(WaitKind),
    arrived_before: datetime | None = None,
) -> Selection:
    """Make a Selection of option values; Failure when one of them is malformed."""
    return Selection(
        queue_id=_queue_id(queue_id) if queue_id else None,
        domain=_domain(domain) if domain else None,
        reverse_path=sender,
        recipient=recipient,
        client=client,
        kinds=kinds,
        arrived_before=arrived_before,
    )


def _queue_id(text: str) -> str:
    queue_id = text.upper()
    try:
        if "-" in queue_id:  # a record id names its message too
            queue_id = RecordId.parse(queue_id).queue_id
        shard_of(queue_id)
    except ValueError as error:
        raise Failure(
            f"--id takes a queue id, the 26 letters and digits after `queued as`, not {text!r}",
            code=2,
        ) from error
    return queue_id


def _domain(text: str) -> str:
    try:
        return normalise_domain(text)
    except AddressSyntaxError as error:
        raise Failure(f"--domain: {text!r} is not a mail domain: {error}", code=2) from error
