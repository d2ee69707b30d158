"""
The interface of a span, and the current span of each task.

Other packages get spans from `tracing`; `otel` has the spans that are recorded.
"""

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Self

from postroad.telemetry.lines import fields as log_fields

SpanRole = Literal["internal", "server", "client", "producer", "consumer"]
AttributeValue = str | bool | int | float


class Span:
    """
    A span in a trace. This class is the span that is not recorded: its methods do nothing.

    Use it in a `with` block, where it is the current span. If its end does not fit a block, call
    `end()` instead.
    """

    __slots__ = ()

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Add attributes."""

    def event(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> None:
        """Note that something happened now."""

    def fail(self, reason: str) -> None:
        """Mark the span as failed: a deferral, a bounce, a refusal."""

    def end(self) -> None:
        """End the span; a second time does nothing."""

    @property
    def traceparent(self) -> str:
        """The W3C traceparent that continues this span, "" when it is not recorded."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        return None


OFF = Span()
_current: ContextVar[Span] = ContextVar("postroad_span", default=OFF)


def trace_id_of(traceparent: str) -> str:
    """Return the trace id in a W3C traceparent, "" for none."""
    return traceparent[3:35]


def current_traceparent() -> str:
    """Return the current span's W3C traceparent, "" when there is none."""
    return _current.get().traceparent


def enter(entered: Span) -> Token[Span]:
    """Make a span the current one."""
    log_fields.name_trace(trace_id_of(entered.traceparent))
    return _current.set(entered)


def leave(token: Token[Span]) -> None:
    """Make the previous span the current one again."""
    _current.reset(token)
    log_fields.name_trace(trace_id_of(_current.get().traceparent))
