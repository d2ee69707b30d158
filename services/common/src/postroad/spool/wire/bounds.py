"""
Refuses records that no release writes, before anything is made of them.

Who accepts mail writes the records, and delivery goes by them. It makes subjects of them, which end
a connection when they are too long or have a line end in them. It makes later forms, which need
room for larger numbers. It handles all recipients of a record in one turn of the event loop. A
record with which that is impossible is refused, so that it is held, and no other mail waits for it.
"""

import re
from ipaddress import ip_address

from postroad.mail.address import MAX_DOMAIN, MAX_LOCAL_PART, Mailbox
from postroad.spool.ids import shard_of
from postroad.spool.lanes.owners import is_pool_name
from postroad.spool.record import BlobRef, ChosenSite, QueueRecord

_BLOB_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MOST_STEPS = 2**30  # half of what an event can tell, and less of what a record can
_MOST_RECIPIENTS = 5_000  # a message has a thousand at most
_MOST_CHUNKS = 65_536  # of one body, at least 4 GiB; each has a subject
_MOST_OCTETS = 2**40  # of one body
_MOST_DESTINATIONS = 5_000  # of one body, each a bit in memory; a message has a thousand at most
_MOST_HOSTS = 100  # and addresses of each; delivery uses ten
_LONGEST_SITE = 1000  # a Relay's has its namespace and name, an MX site's 120 characters at most
_LONGEST_NAME = 4 * MAX_DOMAIN  # of a host: an octet that is not printable has four characters


def check(record: QueueRecord) -> None:
    """Raise ValueError for what is no record of ours."""
    shard_of(record.record_id.queue_id)  # a ValueError when it is no queue id
    if not record.recipients or not record.domain:
        raise ValueError("a record without recipients or domain")
    if len(record.recipients) > _MOST_RECIPIENTS:
        raise ValueError("a record has too many recipients")
    for each in record.recipients:
        _check_mailbox(each.mailbox)
    if record.reverse_path is not None:
        _check_mailbox(record.reverse_path)
    if len(record.domain) > MAX_DOMAIN:
        raise ValueError("the name of a domain is too long")
    if len(record.site) > _LONGEST_SITE:
        raise ValueError("the name of a site is too long")
    if not is_pool_name(record.pool):
        raise ValueError("a pool has a name that no Relay may give it")
    if max(record.step, record.attempts, record.lane_moves) >= _MOST_STEPS:
        raise ValueError("a number of steps is too large")
    if isinstance(record.content, BlobRef):
        _check_body(record.content)
    if record.chosen_site is not None:
        _check_choice(record.chosen_site)


def _check_mailbox(mailbox: Mailbox) -> None:
    if len(mailbox.local_part) > MAX_LOCAL_PART or len(mailbox.domain) > MAX_DOMAIN:
        raise ValueError("a mailbox is too long")


def _check_body(body: BlobRef) -> None:
    if not _BLOB_ID.fullmatch(body.blob_id):
        raise ValueError("the name of a body is malformed")
    if body.chunks > _MOST_CHUNKS or body.destinations > _MOST_DESTINATIONS:
        raise ValueError("a body has too many chunks or destinations")
    if body.size >= _MOST_OCTETS:
        raise ValueError("a body is too large")


def _check_choice(chosen: ChosenSite) -> None:
    if chosen.number >= _MOST_STEPS or len(chosen.hosts) > _MOST_HOSTS:
        raise ValueError("a chosen site has too many hosts, or came after too many others")
    for name, addresses in chosen.hosts:
        if len(name) > _LONGEST_NAME or len(addresses) > _MOST_HOSTS:
            raise ValueError("a host of a chosen site is malformed")
        for address in addresses:
            ip_address(address)  # a ValueError when it is none
