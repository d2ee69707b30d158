"""The queue's log lines: structlog's, with the fields every process of ours has."""

import structlog
from structlog.typing import FilteringBoundLogger


def get_logger(name: str) -> FilteringBoundLogger:
    """Return the logger of one part; `_part` becomes the line's `logger`."""
    logger: FilteringBoundLogger = structlog.get_logger(_part=name)
    return logger
