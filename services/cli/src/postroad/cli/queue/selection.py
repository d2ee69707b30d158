"""The options that select mail, shared by all queue commands."""

import re
import shlex
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated

import typer

from postroad.cli.errors import CommandError
from postroad.mail.address import normalise_domain, parse_mailbox
from postroad.mail.errors import AddressSyntaxError
from postroad.spool.ids import RecordId, arrival_of
from postroad.spool.interface import Queued, Spool
from postroad.spool.selection import Selection, WaitKind

NOTHING_SAID = "say which mail: --id, --domain, --from, --to, --client, or --all"

_CLIENT = re.compile(r"(?:[a-z0-9.-]+/)?[a-z0-9.-]+")


@dataclass(frozen=True, slots=True)
class Choice:
    """
    The mail that a command line selects, perhaps with a Client's name without its namespace.

    Only the queued mail shows which namespace is meant, so it is found while listing.
    """

    selection: Selection
    client_name: str | None = None

    async def of(self, spool: Spool) -> AsyncIterator[Queued]:
        """Yield the records that match; CommandError if the Client's name matches several."""
        clients: set[str] = set()
        async for queued in spool.waiting.list(self.selection):
            client = queued.record.origin.client or ""
            if self.client_name is not None and client.rpartition("/")[2] != self.client_name:
                continue
            if self.client_name is not None and client not in clients:
                clients.add(client)
                _refuse_several(clients)
            yield queued

    def narrowed(self, found: Iterable[Queued]) -> Selection:
        """Return the selection with the Client's namespace, as the records found have it."""
        if self.client_name is None:
            return self.selection
        client = next((queued.record.origin.client for queued in found), None)
        return replace(self.selection, client=client)


def _refuse_several(clients: set[str]) -> None:
    if len(clients) > 1:
        raise CommandError(
            f"--client takes NAMESPACE/NAME: the queue has mail of {' and '.join(sorted(clients))}",
            code=2,
        )


@dataclass(frozen=True, slots=True)
class Mail:
    """The selected mail; a command with a parameter of this type gets these options."""

    queue_id: Annotated[
        str | None, typer.Option("--id", metavar="QUEUE-ID", help="The message with this queue id.")
    ] = None
    domain: Annotated[
        str | None, typer.Option("--domain", metavar="DOMAIN", help="Mail to this domain.")
    ] = None
    sender: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="ADDRESS", help="Mail with this reverse-path; '<>' for notifications."
        ),
    ] = None
    recipient: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Mail that waits for this recipient."),
    ] = None
    client: Annotated[
        str | None,
        typer.Option(
            "--client",
            metavar="NAMESPACE/NAME",
            help="Mail that this Client submitted. The name alone is enough if only one namespace"
            " has it.",
        ),
    ] = None

    def choice(
        self,
        *,
        kinds: frozenset[WaitKind] = frozenset(WaitKind),
        arrived_before: datetime | None = None,
    ) -> Choice:
        """Read the values; CommandError when one of them is malformed."""
        full, bare = _client(self.client) if self.client is not None else (None, None)
        selection = Selection(
            queue_id=read_queue_id(self.queue_id) if self.queue_id is not None else None,
            domain=_domain(self.domain) if self.domain is not None else None,
            reverse_path=_reverse_path(self.sender) if self.sender is not None else None,
            recipient=_mailbox(self.recipient, "--to") if self.recipient is not None else None,
            client=full,
            kinds=kinds,
            arrived_before=arrived_before,
        )
        return Choice(selection, bare)


def describe(selection: Selection) -> str:
    """Return a selection as command-line flags."""
    values = {
        "--id": selection.queue_id,
        "--domain": selection.domain,
        "--from": selection.reverse_path,
        "--to": selection.recipient,
        "--client": selection.client,
    }
    said = [f"{flag} {shlex.quote(value)}" for flag, value in values.items() if value is not None]
    return " ".join(said) or "--all"


def read_queue_id(text: str, named: str = "--id") -> str:
    """Read a queue id, or a record's id, which contains one; CommandError for anything else."""
    queue_id = text.upper()
    try:
        if "-" in queue_id:
            queue_id = RecordId.parse(queue_id).queue_id
        arrival_of(queue_id)
    except (ValueError, OverflowError) as error:
        raise CommandError(
            f"{named} takes a queue id, the 26 letters and digits after `queued as`, not {text!r}",
            code=2,
        ) from error
    return queue_id


def _domain(text: str) -> str:
    try:
        return normalise_domain(text)
    except AddressSyntaxError as error:
        raise CommandError(f"--domain: {text!r} is not a mail domain: {error}", code=2) from error


def _reverse_path(text: str) -> str:
    return text if text == "<>" else _mailbox(text, "--from")


def _mailbox(text: str, option: str) -> str:
    """Read an address in the spelling by which addresses are compared."""
    try:
        return parse_mailbox(text).compared
    except AddressSyntaxError as error:
        raise CommandError(f"{option}: {text!r} is not a mail address: {error}", code=2) from error


def _client(text: str) -> tuple[str | None, str | None]:
    """Return a Client's full name and its bare name; one of the two is None."""
    if not _CLIENT.fullmatch(text):
        raise CommandError(f"--client takes NAMESPACE/NAME, not {text!r}", code=2)
    return (text, None) if "/" in text else (None, text)
