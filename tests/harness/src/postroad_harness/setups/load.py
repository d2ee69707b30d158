"""A sink that keeps what it took, for tests of `postroad load`."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

from postroad.cli.load.figures import LoadFigures
from postroad.cli.load.plan import LoadPlan
from postroad.cli.load.run import LoadRun
from postroad.cli.sink.server import Sink, SinkBehaviour
from postroad.testing import children

_NUMBER = re.compile(rb"X-Number: (\d+)")


class Hop:
    """A sink that keeps what it took."""

    def __init__(self, behaviour: SinkBehaviour) -> None:
        self.sink = Sink(behaviour)
        self.contents: list[bytes] = []
        self.sink.on_taken = lambda content: self.contents.append(bytes(content))
        self.port = 0

    @property
    def numbers(self) -> list[int]:
        found = [_NUMBER.search(content) for content in self.contents]
        return [int(match[1]) for match in found if match]


OpenHop = Callable[..., Awaitable[Hop]]


async def load(port: int, **how: Any) -> LoadFigures:
    return await LoadRun(LoadPlan("127.0.0.1", port, **how)).run()


async def run(*flags: str) -> tuple[int, str, str]:
    return await children.run("load", *flags, environment={"COLUMNS": "200", "PATH": ""})
