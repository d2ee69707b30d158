"""
Writes a log line and an event for each message accepted and each refusal.

This answers "Why was my mail refused?", so it covers each refusal, of any command, and each session
that ingress ends. Anybody can cause any number of refusals, so their lines and events have budgets
(`telemetry.log_limit`). Clients have a budget of their own, so that strangers cannot hide the
refusals of Clients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from postroad.acceptance.provenance import client_event
from postroad.mail.trace import ClientInfo
from postroad.smtp.reply import Reply
from postroad.spool.agreement import Events
from postroad.spool.event import Event, EventType
from postroad.telemetry.log_limit import Budget, LineLimit, network_of, report
from postroad.telemetry.logs import get_logger

log = get_logger(__name__)

# The refusals of one Client. Its owner may ask about any of them, and no stranger uses them up.
_OF_ONE_CLIENT = Budget(100, 2.0)
_OF_ALL_CLIENTS = Budget(500, 20.0)
_MOST_NAMED = 5  # recipients in a line; the event has all


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal: the reply, the command, and all that is known about the client."""

    command: str  # CONNECT, EHLO, AUTH, MAIL, RCPT, DATA …; SESSION if ingress ends one
    reply: Reply
    client_info: ClientInfo
    client: str = ""  # namespace/name of the Client that was proven
    user: str = ""  # the name of a login
    sender: str = ""
    recipients: tuple[str, ...] = ()
    size: int = 0


class History:
    """
    Tells what one process accepted and refused. `lines` is the budget of strangers' lines.

    `count` counts a refusal, and returns its reason in one word: replies are the process's.
    """

    def __init__(
        self, events: Events, process: str, lines: LineLimit, count: Callable[[Refusal], str]
    ) -> None:
        self._events = events
        self._process = process
        self._strangers = lines
        self._counted = count
        self._log = log.bind()  # for every message: what is bound is found at once
        self._clients = LineLimit(_OF_ONE_CLIENT, _OF_ALL_CLIENTS)

    def accepted(self, event: Event) -> None:
        """Tell of an accepted message; its reason says why it is held, "" if it is not."""
        fields = _said(event)
        if event.reason:
            fields["reason"] = event.reason
        self._log.info("accepted", queue_id=event.queue_id, **fields)
        self._events.add(event)

    def refused(self, refusal: Refusal) -> None:
        """Count a refusal, and write it unless the budget is spent."""
        reason = self._counted(refusal)
        if refusal.client:
            left_out = self._clients.admit("rejected", refusal.client)
        else:
            left_out = self._strangers.admit("rejected", network_of(refusal.client_info.address))
        if left_out is None:
            return
        event = self._rejection(refusal, reason, left_out)
        fields = _said(event)
        if event.user:
            fields["user"] = event.user
        if left_out:
            fields["left_out"] = left_out
        log.info("rejected", command=event.command, reply=event.reply, reason=reason, **fields)
        self._events.add(event)

    def _rejection(self, refusal: Refusal, reason: str, left_out: int) -> Event:
        return client_event(
            EventType.REJECTION,
            refusal.client_info,
            at=datetime.now(UTC),
            process=self._process,
            client=refusal.client,
            reverse_path=refusal.sender,
            recipients=refusal.recipients,
            size=refusal.size,
            command=refusal.command,
            user=refusal.user,
            reply=str(refusal.reply),
            reason=reason,
            left_out=left_out,
        )

    async def report(self) -> None:
        """Write once a minute how many were left out, until cancelled."""
        await report(self._strangers, self._clients)


def _said(event: Event) -> dict[str, object]:
    """Return the known fields that lines of accepted and of refused mail share."""
    recipients = event.recipients
    fields: dict[str, object] = {"from": event.reverse_path}
    if recipients:
        many = len(recipients) > 1
        fields["to"] = ",".join(recipients[:_MOST_NAMED]) if many else recipients[0]
        if many:
            fields["recipients"] = len(recipients)
    if event.client:
        fields["client"] = event.client
    fields["peer"] = event.peer_address
    if event.helo:
        fields["helo"] = event.helo
    if event.tls:
        fields["tls"] = event.tls
    if event.size:
        fields["size"] = event.size
    return fields
