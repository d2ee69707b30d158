from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Event(_message.Message):
    __slots__ = ("type", "at_us", "queue_id", "record_id", "reverse_path", "recipients", "domain", "site", "host", "peer_address", "client", "reply", "reason", "size", "attempt", "ambiguous", "sequence", "tls", "process", "traceparent", "helo", "command", "user", "relay", "delay", "left_out")
    TYPE_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    RECORD_ID_FIELD_NUMBER: _ClassVar[int]
    REVERSE_PATH_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PEER_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    AMBIGUOUS_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    HELO_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    RELAY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    type: str
    at_us: int
    queue_id: str
    record_id: str
    reverse_path: str
    recipients: _containers.RepeatedScalarFieldContainer[str]
    domain: str
    site: str
    host: str
    peer_address: str
    client: str
    reply: str
    reason: str
    size: int
    attempt: int
    ambiguous: bool
    sequence: int
    tls: str
    process: str
    traceparent: str
    helo: str
    command: str
    user: str
    relay: str
    delay: float
    left_out: int
    def __init__(self, type: _Optional[str] = ..., at_us: _Optional[int] = ..., queue_id: _Optional[str] = ..., record_id: _Optional[str] = ..., reverse_path: _Optional[str] = ..., recipients: _Optional[_Iterable[str]] = ..., domain: _Optional[str] = ..., site: _Optional[str] = ..., host: _Optional[str] = ..., peer_address: _Optional[str] = ..., client: _Optional[str] = ..., reply: _Optional[str] = ..., reason: _Optional[str] = ..., size: _Optional[int] = ..., attempt: _Optional[int] = ..., ambiguous: _Optional[bool] = ..., sequence: _Optional[int] = ..., tls: _Optional[str] = ..., process: _Optional[str] = ..., traceparent: _Optional[str] = ..., helo: _Optional[str] = ..., command: _Optional[str] = ..., user: _Optional[str] = ..., relay: _Optional[str] = ..., delay: _Optional[float] = ..., left_out: _Optional[int] = ...) -> None: ...

class EventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ...) -> None: ...
