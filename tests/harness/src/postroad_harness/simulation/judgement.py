"""
Checks that the relay kept its promises. Each broken one is a sentence in `ledger.violations`.

- Every recipient that was answered 250 has got the message, or its sender has got a report if one
  is due, or the record is still in the queue.
- There is a second copy only if the end of the first was unknown. That is so if the host accepted
  it without an answer, or if a fault hit the process or the servers before the queue knew of the
  end, or if a fault left the record in the queue twice. The last has two causes: a successor was
  written while the process had the record, and arrived when another process had it; or a restart
  came between two tries of one publish, and the server forgot the message ids. The death of a
  process between storing the successor and the acknowledgement is no excuse.
- A crash repeats at most one transaction of a message with many recipients, if each transaction
  takes over a second.
- Waiting mail moves: after all faults have ended, only held mail is left.
- No more is stored than the quotas allow, whatever the senders were told.
- No site gets more connections, or messages in its window, than its limits. A fault in the minute
  before excuses several processes together, but never one alone.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import pairwise

from postroad.spool.memory.spool import MemoryCluster
from postroad.spool.memory.store import MemoryStore
from postroad.spool.record import RecipientState
from postroad_harness.simulation.ledger import Copy, Ledger
from postroad_harness.simulation.moved_clock import EPOCH
from postroad_harness.simulation.scenario import Scenario

_UNSETTLED = 60.0  # seconds after a fault in which lanes may change hands
_SLACK = 1.0  # seconds that a window may seem shorter where the messages arrive


def judge(ledger: Ledger, scenario: Scenario, cluster: MemoryCluster) -> None:
    """Add each broken promise to the ledger's violations."""
    _nothing_vanished(ledger, cluster.store)
    _nothing_is_stuck(ledger, cluster.store)
    _no_copy_without_reason(ledger)
    _no_more_copies_than_a_crash_explains(ledger)
    _doubts_are_told(ledger, cluster)
    _quotas_held(ledger)
    _limits_held(ledger, scenario)


# ---------------------------------------------------------------- nothing vanishes


def _nothing_vanished(ledger: Ledger, store: MemoryStore) -> None:
    tokens = {put.record_id: put.token for put in ledger.puts}
    queued = _queued(tokens, store)
    for token, (sender, recipients) in ledger.accepted.items():
        for recipient in recipients:
            case = (token, recipient)
            if case in queued or _is_ended(ledger, case, sender, queued):
                continue
            what = "was refused, and nobody was told" if _has_failed(ledger, case) else "vanished"
            ledger.violations.append(f"{token} to {recipient} {what}")
    for stored in store.records.values():
        hold = stored.record.hold
        if hold is None or hold.reason not in ("BodyMissing", "BodyCorrupt"):
            continue
        token = tokens.get(str(stored.record.record_id), "")
        cases = [(token, str(recipient.mailbox)) for recipient in stored.record.pending]
        sender = str(stored.record.reverse_path or "")
        # A living process may repeat a record that is done; a dead one cannot.
        is_done = all(_is_ended(ledger, case, sender, queued) for case in cases)
        if not is_done or all(trouble.kind == "crash" for trouble in ledger.troubles):
            ledger.violations.append(f"the body of {stored.record.record_id} is gone")


def _is_ended(
    ledger: Ledger, case: tuple[str, str], sender: str, queued: set[tuple[str, ...]]
) -> bool:
    """Whether a recipient has the message, or its sender a report where there is one to tell."""
    told = ledger.reports.get(case) or ("report", *case) in queued
    return bool(ledger.copies.get(case) or told or (_has_failed(ledger, case) and not sender))


def _has_failed(ledger: Ledger, case: tuple[str, str]) -> bool:
    return case in ledger.refused_for_good or case[1] in ledger.unknown


def _nothing_is_stuck(ledger: Ledger, store: MemoryStore) -> None:
    now = store.clock()
    for stored in store.records.values():
        if stored.due is None or stored.due < now:
            ledger.violations.append(f"{stored.record.record_id} is stuck in the queue")


def _queued(tokens: Mapping[str, str], store: MemoryStore) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for stored in store.records.values():
        record = stored.record
        token = tokens.get(str(record.record_id), "")
        if record.reverse_path is None and isinstance(record.content, bytes):
            content = record.content.decode("utf-8", "replace")
            for line in content.split("\r\n"):
                if line.startswith("Final-Recipient: rfc822; "):
                    found.add(("report", token, line.rpartition(" ")[2]))
        for recipient in record.recipients:
            if recipient.state is RecipientState.PENDING:
                found.add((token, str(recipient.mailbox)))
    return found


# ---------------------------------------------------------------- no copy without a reason


def _no_copy_without_reason(ledger: Ledger) -> None:
    for (token, recipient), copies in ledger.copies.items():
        if len(copies) < 2:
            continue
        records = {
            put.record_id
            for put in ledger.puts
            if put.token == token and put.domain == recipient.partition("@")[2]
        }
        if any(_is_in_the_queue_twice(ledger, record) for record in records):
            continue
        # In the order they were begun: what was written during a cut arrives late.
        for copy, following in pairwise(sorted(copies, key=lambda copy: copy.began)):
            if not _in_doubt(ledger, copy, following, records):
                ledger.violations.append(
                    f"{token} to {recipient} was delivered at {copy.at:.3f} s by {copy.caller}"
                    f" and again at {following.at:.3f} s by {following.caller}"
                )


def _in_doubt(ledger: Ledger, copy: Copy, following: Copy, records: set[str]) -> bool:
    if not copy.told:
        return True
    settled = min(
        (
            end.at
            for end in ledger.ended_records
            if end.at >= copy.at and end.process == copy.caller and end.record_id in records
        ),
        default=following.at,
    )
    return ledger.troubled(copy.caller, copy.began - _SLACK, min(settled, following.at))


def _no_more_copies_than_a_crash_explains(ledger: Ledger) -> None:
    """Of mail for many a crash repeats the transaction it hit, and none of those before."""
    if any(trouble.kind != "crash" for trouble in ledger.troubles):
        return
    repeated: dict[tuple[str, str, str], set[float]] = defaultdict(set)
    for (token, recipient), copies in ledger.copies.items():
        for copy in copies[:-1]:
            if copy.told:
                repeated[token, recipient.partition("@")[2], copy.caller].add(copy.began)
    for (token, domain, caller), transactions in repeated.items():
        if len(transactions) > 1:
            ledger.violations.append(
                f"{len(transactions)} transactions by {caller} of {token} to {domain} were repeated"
            )


def _doubts_are_told(ledger: Ledger, cluster: MemoryCluster) -> None:
    """A copy that its host did not answer for is an ambiguous attempt in the history."""
    told = {event.record_id for event in cluster.agreement.events if event.ambiguous}
    end = (cluster.store.clock() - EPOCH).total_seconds()
    for (token, recipient), copies in ledger.copies.items():
        domain = recipient.partition("@")[2]
        records = {p.record_id for p in ledger.puts if p.token == token and p.domain == domain}
        for copy in copies:
            quiet = not ledger.troubled(copy.caller, copy.began, copy.at + _UNSETTLED)
            if not copy.told and quiet and copy.at + _UNSETTLED < end and not records & told:
                ledger.violations.append(
                    f"{token} to {recipient}: the doubtful attempt of {copy.at:.3f} s is not told"
                )


def _is_in_the_queue_twice(ledger: Ledger, record_id: str) -> bool:
    """Whether a fault has left a record and what follows of it, or one publish, in the queue."""
    puts = [put for put in ledger.puts if put.record_id == record_id]
    return any(put.late for put in puts) or any(
        later.step == put.step and ledger.restarted(put.at, later.at)
        for number, put in enumerate(puts)
        for later in puts[number + 1 :]
    )


# ---------------------------------------------------------------- limits


def _quotas_held(ledger: Ledger) -> None:
    """What was refunded and is stored all the same counts: it is delivered."""
    stored: Counter[tuple[str, int]] = Counter()
    for queue_id in {put.queue_id for put in ledger.puts}:
        for price in ledger.prices.get(queue_id, ()):
            stored[price.key, price.maximum] += price.amount
    for (key, maximum), amount in stored.items():
        if amount > maximum:
            ledger.violations.append(f"{amount} of {maximum} were stored under {key}")


def _limits_held(ledger: Ledger, scenario: Scenario) -> None:
    most = scenario.limits.connections
    for at, site, together in ledger.crowds:
        of_one, count = Counter(who for _, who in together).most_common(1)[0]
        if count > most and not ledger.troubled(of_one, at - _SLACK, at):
            ledger.violations.append(
                f"at {at:.3f} s {of_one} alone used {count} connections to {site}, of {most}"
            )
        elif len(together) > most and not (scenario.excused and _unsettled(ledger, at)):
            ledger.violations.append(
                f"at {at:.3f} s {site} had {len(together)} connections of {most}: {together}"
            )
    rate = scenario.limits.message_rate
    if rate is None:
        return
    window = rate.window.total_seconds() - _SLACK
    for site, starts in ledger.starts.items():
        for first, last in zip(starts, starts[rate.count :], strict=False):
            if last[0] - first[0] < window and not (
                scenario.excused and _unsettled(ledger, last[0])
            ):
                ledger.violations.append(
                    f"{site} got {rate.count + 1} messages from {first[0]:.3f} s to {last[0]:.3f} s"
                )


def _unsettled(ledger: Ledger, at: float) -> bool:
    """Whether a fault may have given lanes to somebody else who cannot know what is under way."""
    return any(
        each.start <= at and min(each.end, each.start + _UNSETTLED) + _UNSETTLED >= at
        for each in ledger.troubles
    )
