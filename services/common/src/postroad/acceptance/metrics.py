"""The metrics of acceptance, which each process that accepts mail serves."""

from postroad.telemetry.metrics import BYTES, Group

_GROUP = Group("Acceptance", "What each process that accepts mail counts of messages.")

MESSAGES = _GROUP.counter(
    "postroad_acceptance_messages_total",
    "Messages by the reply to their final dot.",
    labels={"outcome": ("accepted", "deferred", "rejected")},
    watch="A growing share of `deferred`: the queue is unavailable or full, or a quota is used up.",
)
RECEIVED_BYTES = _GROUP.counter(
    "postroad_acceptance_received_bytes_total", "Content of accepted messages, in bytes."
)
MESSAGE_SIZE = _GROUP.histogram(
    "postroad_acceptance_message_size_bytes", "Size of accepted messages.", buckets=BYTES
)
STORE_SECONDS = _GROUP.histogram(
    "postroad_acceptance_store_seconds",
    "Time from a message's last octet to the queue's acknowledgement.",
    watch="The p99 is the time that clients wait for `250`. Most of it is the disk's.",
)

ACCEPTED = MESSAGES.labels("accepted")
DEFERRED = MESSAGES.labels("deferred")
REJECTED = MESSAGES.labels("rejected")
