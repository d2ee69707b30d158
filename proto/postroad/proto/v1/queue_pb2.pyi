from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RecipientState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RECIPIENT_STATE_PENDING: _ClassVar[RecipientState]
    RECIPIENT_STATE_DELIVERED: _ClassVar[RecipientState]
    RECIPIENT_STATE_BOUNCED: _ClassVar[RecipientState]
RECIPIENT_STATE_PENDING: RecipientState
RECIPIENT_STATE_DELIVERED: RecipientState
RECIPIENT_STATE_BOUNCED: RecipientState

class LastReply(_message.Message):
    __slots__ = ("text", "at_us", "status", "host", "phase")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    text: str
    at_us: int
    status: str
    host: str
    phase: str
    def __init__(self, text: _Optional[str] = ..., at_us: _Optional[int] = ..., status: _Optional[str] = ..., host: _Optional[str] = ..., phase: _Optional[str] = ...) -> None: ...

class Recipient(_message.Message):
    __slots__ = ("local_part", "domain", "notify", "orcpt", "state", "last")
    LOCAL_PART_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    NOTIFY_FIELD_NUMBER: _ClassVar[int]
    ORCPT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    local_part: str
    domain: str
    notify: int
    orcpt: str
    state: RecipientState
    last: LastReply
    def __init__(self, local_part: _Optional[str] = ..., domain: _Optional[str] = ..., notify: _Optional[int] = ..., orcpt: _Optional[str] = ..., state: _Optional[_Union[RecipientState, str]] = ..., last: _Optional[_Union[LastReply, _Mapping]] = ...) -> None: ...

class Origin(_message.Message):
    __slots__ = ("client", "namespace", "peer", "helo", "protocol", "tags", "traceparent")
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    HELO_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    client: str
    namespace: str
    peer: str
    helo: str
    protocol: str
    tags: _containers.RepeatedScalarFieldContainer[str]
    traceparent: str
    def __init__(self, client: _Optional[str] = ..., namespace: _Optional[str] = ..., peer: _Optional[str] = ..., helo: _Optional[str] = ..., protocol: _Optional[str] = ..., tags: _Optional[_Iterable[str]] = ..., traceparent: _Optional[str] = ...) -> None: ...

class BlobRef(_message.Message):
    __slots__ = ("shard", "blob_id", "chunks", "size", "sha256", "sole", "destinations")
    SHARD_FIELD_NUMBER: _ClassVar[int]
    BLOB_ID_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SOLE_FIELD_NUMBER: _ClassVar[int]
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    shard: int
    blob_id: str
    chunks: int
    size: int
    sha256: bytes
    sole: bool
    destinations: int
    def __init__(self, shard: _Optional[int] = ..., blob_id: _Optional[str] = ..., chunks: _Optional[int] = ..., size: _Optional[int] = ..., sha256: _Optional[bytes] = ..., sole: _Optional[bool] = ..., destinations: _Optional[int] = ...) -> None: ...

class Hold(_message.Message):
    __slots__ = ("reason", "on_expiry", "note", "ordered_us")
    REASON_FIELD_NUMBER: _ClassVar[int]
    ON_EXPIRY_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    ORDERED_US_FIELD_NUMBER: _ClassVar[int]
    reason: str
    on_expiry: str
    note: str
    ordered_us: int
    def __init__(self, reason: _Optional[str] = ..., on_expiry: _Optional[str] = ..., note: _Optional[str] = ..., ordered_us: _Optional[int] = ...) -> None: ...

class ChosenSite(_message.Message):
    __slots__ = ("site", "hosts", "at_us", "number", "is_whole")
    SITE_FIELD_NUMBER: _ClassVar[int]
    HOSTS_FIELD_NUMBER: _ClassVar[int]
    AT_US_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    IS_WHOLE_FIELD_NUMBER: _ClassVar[int]
    site: str
    hosts: _containers.RepeatedCompositeFieldContainer[ChosenHost]
    at_us: int
    number: int
    is_whole: bool
    def __init__(self, site: _Optional[str] = ..., hosts: _Optional[_Iterable[_Union[ChosenHost, _Mapping]]] = ..., at_us: _Optional[int] = ..., number: _Optional[int] = ..., is_whole: _Optional[bool] = ...) -> None: ...

class ChosenHost(_message.Message):
    __slots__ = ("name", "addresses")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class QueueRecord(_message.Message):
    __slots__ = ("queue_id", "destination", "step", "null_reverse_path", "reverse_local_part", "reverse_domain", "recipients", "domain", "arrival_us", "deadline_us", "origin", "body", "smtputf8", "requiretls", "ret", "envid", "has_envid", "traffic_class", "pool", "site", "trace", "content", "blob", "header", "attempts", "last_attempt_us", "delay_warned", "lane_moves", "hold", "needs", "doubtful_hosts", "resume_from", "released_us", "overtime_us", "generation", "waits_until_us", "chosen_site", "intake")
    QUEUE_ID_FIELD_NUMBER: _ClassVar[int]
    DESTINATION_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    NULL_REVERSE_PATH_FIELD_NUMBER: _ClassVar[int]
    REVERSE_LOCAL_PART_FIELD_NUMBER: _ClassVar[int]
    REVERSE_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    RECIPIENTS_FIELD_NUMBER: _ClassVar[int]
    DOMAIN_FIELD_NUMBER: _ClassVar[int]
    ARRIVAL_US_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_US_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    BODY_FIELD_NUMBER: _ClassVar[int]
    SMTPUTF8_FIELD_NUMBER: _ClassVar[int]
    REQUIRETLS_FIELD_NUMBER: _ClassVar[int]
    RET_FIELD_NUMBER: _ClassVar[int]
    ENVID_FIELD_NUMBER: _ClassVar[int]
    HAS_ENVID_FIELD_NUMBER: _ClassVar[int]
    TRAFFIC_CLASS_FIELD_NUMBER: _ClassVar[int]
    POOL_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    BLOB_FIELD_NUMBER: _ClassVar[int]
    HEADER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    LAST_ATTEMPT_US_FIELD_NUMBER: _ClassVar[int]
    DELAY_WARNED_FIELD_NUMBER: _ClassVar[int]
    LANE_MOVES_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    DOUBTFUL_HOSTS_FIELD_NUMBER: _ClassVar[int]
    RESUME_FROM_FIELD_NUMBER: _ClassVar[int]
    RELEASED_US_FIELD_NUMBER: _ClassVar[int]
    OVERTIME_US_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    WAITS_UNTIL_US_FIELD_NUMBER: _ClassVar[int]
    CHOSEN_SITE_FIELD_NUMBER: _ClassVar[int]
    INTAKE_FIELD_NUMBER: _ClassVar[int]
    queue_id: str
    destination: int
    step: int
    null_reverse_path: bool
    reverse_local_part: str
    reverse_domain: str
    recipients: _containers.RepeatedCompositeFieldContainer[Recipient]
    domain: str
    arrival_us: int
    deadline_us: int
    origin: Origin
    body: str
    smtputf8: bool
    requiretls: bool
    ret: str
    envid: str
    has_envid: bool
    traffic_class: str
    pool: str
    site: str
    trace: bytes
    content: bytes
    blob: BlobRef
    header: bytes
    attempts: int
    last_attempt_us: int
    delay_warned: bool
    lane_moves: int
    hold: Hold
    needs: _containers.RepeatedScalarFieldContainer[str]
    doubtful_hosts: _containers.RepeatedScalarFieldContainer[str]
    resume_from: int
    released_us: int
    overtime_us: int
    generation: int
    waits_until_us: int
    chosen_site: ChosenSite
    intake: int
    def __init__(self, queue_id: _Optional[str] = ..., destination: _Optional[int] = ..., step: _Optional[int] = ..., null_reverse_path: _Optional[bool] = ..., reverse_local_part: _Optional[str] = ..., reverse_domain: _Optional[str] = ..., recipients: _Optional[_Iterable[_Union[Recipient, _Mapping]]] = ..., domain: _Optional[str] = ..., arrival_us: _Optional[int] = ..., deadline_us: _Optional[int] = ..., origin: _Optional[_Union[Origin, _Mapping]] = ..., body: _Optional[str] = ..., smtputf8: _Optional[bool] = ..., requiretls: _Optional[bool] = ..., ret: _Optional[str] = ..., envid: _Optional[str] = ..., has_envid: _Optional[bool] = ..., traffic_class: _Optional[str] = ..., pool: _Optional[str] = ..., site: _Optional[str] = ..., trace: _Optional[bytes] = ..., content: _Optional[bytes] = ..., blob: _Optional[_Union[BlobRef, _Mapping]] = ..., header: _Optional[bytes] = ..., attempts: _Optional[int] = ..., last_attempt_us: _Optional[int] = ..., delay_warned: _Optional[bool] = ..., lane_moves: _Optional[int] = ..., hold: _Optional[_Union[Hold, _Mapping]] = ..., needs: _Optional[_Iterable[str]] = ..., doubtful_hosts: _Optional[_Iterable[str]] = ..., resume_from: _Optional[int] = ..., released_us: _Optional[int] = ..., overtime_us: _Optional[int] = ..., generation: _Optional[int] = ..., waits_until_us: _Optional[int] = ..., chosen_site: _Optional[_Union[ChosenSite, _Mapping]] = ..., intake: _Optional[int] = ...) -> None: ...

class Pack(_message.Message):
    __slots__ = ("records",)
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    records: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, records: _Optional[_Iterable[bytes]] = ...) -> None: ...
