"""
An event loop whose time jumps to the next timer. It has no sockets and no threads, and never waits.

Each step (a callback, or a task's run from one await to the next) belongs to the process in whose
context it was scheduled, or to the world. So one interpreter simulates several processes. Before
each step of a process, the injector of faults is called. A paused process keeps its steps for
later, as if a signal had stopped it. The steps of a dead process never run, so none of its code
cleans anything up.
"""

import asyncio
import contextvars
import heapq
import itertools
import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from enum import Enum, auto
from typing import Any, TypeVar, cast

T = TypeVar("T")
Call = Callable[..., object]
Context = contextvars.Context
Work = Generator[Any, None, T] | Coroutine[Any, Any, T]


class Life(Enum):
    """What a process does."""

    RUNNING = auto()
    PAUSED = auto()
    DEAD = auto()


class SimulatedProcess:
    """A unit that is paused and killed as a whole. Start its tasks with `context`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.life = Life.RUNNING
        self.context = contextvars.copy_context()
        self.context.run(_PROCESS.set, self)
        self.kept: deque[Step] = deque()

    def __repr__(self) -> str:
        return self.name

    @staticmethod
    def current() -> "SimulatedProcess | None":
        """Return the process whose step this is, None for the world's."""
        return _PROCESS.get()


_PROCESS: contextvars.ContextVar[SimulatedProcess | None] = contextvars.ContextVar(
    "process", default=None
)


class StuckError(Exception):
    """Nothing is left to do, or the steps never end; the text says which."""


class Step(asyncio.TimerHandle):
    """A callback with the process it belongs to."""

    __slots__ = ("process",)

    def __init__(
        self,
        when: float,
        call: Call,
        args: tuple[Any, ...],
        loop: "SimulatedLoop",
        context: Context,
    ) -> None:
        super().__init__(when, call, args, loop, context)
        self.process = context.get(_PROCESS)


class NumberedTask(asyncio.Task[T]):
    """A task whose order in a set depends on its number, not on its memory address."""

    def __init__(self, work: Work[T], *, number: int, **options: Any) -> None:
        self._number = number
        super().__init__(cast(Coroutine[Any, Any, T], work), **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimulatedLoop(asyncio.AbstractEventLoop):
    """The loop. `before_step` is asked before each step of a process; it may pause or kill it."""

    def __init__(self, *, most_steps: int) -> None:
        self.steps = 0
        self.errors: list[str] = []
        self.before_step: Callable[[SimulatedProcess], None] | None = None
        self._most_steps = most_steps
        self._now = 0.0
        self._ready: deque[Step] = deque()
        self._timers: list[tuple[float, int, Step]] = []
        self._numbers = itertools.count(1)
        self._tasks: dict[int, asyncio.Task[Any]] = {}

    # ------------------------------------------------------------ time and steps

    def time(self) -> float:
        """Return the seconds since the simulation began."""
        return self._now

    def call_soon(  # type: ignore[override]
        self, callback: Call, *args: Any, context: Context | None = None
    ) -> Step:
        """Run a callback after what is ready already."""
        step = Step(self._now, callback, args, self, _mine_if_none(context))
        self._ready.append(step)
        return step

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Call, *args: Any, context: Context | None = None
    ) -> Step:
        """Run a callback in `delay` seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Call, *args: Any, context: Context | None = None
    ) -> Step:
        """Run a callback at a time of this loop."""
        step = Step(when, callback, args, self, _mine_if_none(context))
        heapq.heappush(self._timers, (when, next(self._numbers), step))
        return step

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run to the end of `work`; StuckError when it has none."""
        asyncio._set_running_loop(self)
        try:
            task = self.create_task(work)
            while not task.done():
                self._once()
            return task.result()
        finally:
            asyncio._set_running_loop(None)

    def _once(self) -> None:
        while self._timers and self._timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(self._timers)[2])
        if self._ready:
            self._run(self._ready.popleft())
        elif self._timers:
            self._now = self._timers[0][0]
        else:
            raise StuckError("nothing is left to wait for")

    def _run(self, step: Step) -> None:
        if step.cancelled():
            return
        process = step.process
        if process is not None:
            if process.life is Life.RUNNING and self.before_step is not None:
                self.before_step(process)
            if process.life is not Life.RUNNING:
                if process.life is Life.PAUSED:
                    process.kept.append(step)
                return
        self.steps += 1
        if self.steps > self._most_steps:
            raise StuckError(f"no end after {self.steps} steps, at {self._now:.3f} s")
        step._run()

    def resume(self, process: SimulatedProcess) -> None:
        """Let a paused process go on with what it was kept from."""
        if process.life is Life.PAUSED:
            process.life = Life.RUNNING
            self._ready.extend(process.kept)
            process.kept.clear()

    # ------------------------------------------------------------ futures and tasks

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a future of this loop."""
        return asyncio.Future(loop=self)

    def create_task(
        self, coro: Work[T], *, name: str | None = None, context: Context | None = None
    ) -> "asyncio.Task[T]":
        """Return a task with a number of its own."""
        number = next(self._numbers)
        task: asyncio.Task[T] = NumberedTask(
            coro, number=number, loop=self, name=name or f"task-{number}", context=context
        )
        self._tasks[number] = task
        task.add_done_callback(lambda _: self._tasks.pop(number, None))
        return task

    def end(self) -> None:
        """
        Close all remaining coroutines at the end of a seed, those of dead processes too.

        Otherwise the garbage collector would close them in the middle of another seed.
        """
        self.before_step = None
        asyncio._set_running_loop(self)
        try:
            while self._tasks:
                _, task = self._tasks.popitem()
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                _close(task.get_coro())
        finally:
            asyncio._set_running_loop(None)
            self._timers.clear()
            self._ready.clear()

    # ------------------------------------------------------------ what asyncio asks of a loop

    def get_debug(self) -> bool:
        """Return False: steps are cheap that way."""
        return False

    def is_running(self) -> bool:
        """Whether it runs."""
        return True

    def is_closed(self) -> bool:
        """Whether it is closed: it has nothing to close."""
        return False

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """Leave it where it is: it is passed over when its time comes."""

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep an error that nobody caught, for the end."""
        future = context.get("future")
        if future is not None and not isinstance(future, asyncio.Task):
            return  # an answer to a process that died before it heard it
        error = context.get("exception")
        where = traceback.extract_tb(error.__traceback__)[-4:] if error is not None else []
        at = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(where))
        self.errors.append(f"{context.get('message')}: {error!r} at {at}")


def _mine_if_none(context: Context | None) -> Context:
    return contextvars.copy_context() if context is None else context


def _close(work: Any) -> None:
    try:
        work.close()
    except BaseException:  # noqa: S110 - whatever it says, nobody listens any more
        pass
