"""
The faults of processes, their connections and the servers, before steps that the seed chooses.

A fault happens before a step of a process (from one await to the next). Steps are counted instead
of time, so that steps that take no time are hit as often as others. Steps while the queue is empty
do not count.
"""

import random
from collections.abc import Callable
from typing import Any

from postroad.spool.interface import Put
from postroad.spool.lanes.keys import Key
from postroad_harness.simulation.ledger import EVERYTHING
from postroad_harness.simulation.loop import Life, SimulatedProcess
from postroad_harness.simulation.processes import DeliveryProcess, RunningProcess, Surroundings
from postroad_harness.simulation.scenario import Scenario

_EFFECT = 25.0  # seconds until leases and sessions that a fault has cut off have expired
_AGAIN = (0.5, 8.0)  # seconds until a crashed process is started again


class Faults:
    """Injects the faults of a seed."""

    def __init__(
        self, scenario: Scenario, around: Surroundings, start: Callable[[str], Any]
    ) -> None:
        self.processes: dict[str, RunningProcess] = {}
        self._around = around
        self._start = start
        self._dice = random.Random(scenario.seed + 2)
        self._left = scenario.faults
        self._every = scenario.fault_every
        self._kinds = scenario.fault_kinds
        self._pauses = scenario.pauses
        self._mutes = scenario.mutes
        self._role = scenario.fault_role
        self._at_store = scenario.fault_at_store
        self._at_fire = scenario.fault_at_fire
        self._until = self._countdown()
        self._lives = 0

    def _countdown(self) -> int:
        return 1 + int(self._dice.expovariate(1 / self._every)) if self._left else -1

    def before_step(self, process: SimulatedProcess) -> None:
        """Count a step while there is mail, and inject a fault if it is due."""
        if not self._around.servers.store.records or not process.name.startswith(self._role):
            return
        self._until -= 1
        if self._until == 0:
            self._left -= 1
            self._until = self._countdown()
            self._do(process)

    def stored(self, put: Put, process: SimulatedProcess) -> None:
        """Kill the process that has just stored a record's successor, if the scenario says so."""
        if not put.record.step or not self._left or self._dice.random() >= self._at_store:
            return
        running = self.processes.get(process.name)
        if running is not None:
            self._left -= 1
            network = self._around.network
            network.call_soon(self._crash_if_there, running, context=network.world)

    def fired(self, key: Key) -> None:
        """Kill the servers between the two steps of firing a schedule, if the scenario says so."""
        if not self._at_fire or not self._left or self._dice.random() >= self._at_fire:
            return
        network = self._around.network
        network.call_soon(self._kill_firing, key, context=network.world)

    def _kill_firing(self, key: Key) -> None:
        if not self._left or not self._around.servers.up:
            return
        self._left -= 1
        # The trouble has no duration: records taken after it were not hit.
        self._note(EVERYTHING, "restart", 0.0)
        self._around.servers.restart(self._dice.choice([0.5, 3.0]), unpurged=key)

    def _crash_if_there(self, running: RunningProcess) -> None:
        if self.processes.get(running.simulated.name) is running:
            self._crash(running)

    def fall(self) -> None:
        """Restart the servers, which lose everything in memory."""
        self._note(EVERYTHING, "restart", 0.0)
        self._around.servers.restart(0.5)

    def drain(self) -> None:
        """Ask a delivery process to stop; that is no fault, since it gets enough time."""
        running = self.processes.get("delivery-0")
        if running is not None:
            self._ask_to_stop(running)

    def fall_silent(self) -> None:
        """Let the servers do nothing for longer than a process waits for a lane's key."""
        self._silence(4.0)

    def mend(self) -> None:
        """Inject no more faults, and end those in effect."""
        self._left, self._until = 0, -1
        self._around.servers.mute_until = self._around.servers.deaf_until = 0.0
        self._around.servers.store.full = False
        for process in list(self.processes.values()):
            self._resume(process)

    # ------------------------------------------------------------ each fault

    def _do(self, process: SimulatedProcess) -> None:
        running = self.processes.get(process.name)
        if running is None:
            return
        kinds: list[Callable[[RunningProcess], None]] = [
            self._crash,
            self._crash,
            self._crash,
            self._pause,
            self._pause,
            self._cut,
            self._cut,
            self._break_off,
            self._mute,
            self._deaf,
            self._restart,
            self._fill,
            self._stop,
        ]
        wanted = [f"_{kind}" for kind in self._kinds]
        self._dice.choice([k for k in kinds if not wanted or k.__name__ in wanted])(running)

    def _note(self, process: str, kind: str, seconds: float) -> None:
        now = self._around.network.time()
        self._around.ledger.trouble(process, kind, now, now + seconds)

    def _crash(self, running: RunningProcess) -> None:
        name = running.simulated.name
        self._note(name, "crash", float("inf"))
        self._bury(running)
        self._start_again(name)

    def died(self, name: str) -> None:
        """Note that a process ended by itself, because one of its parts failed."""
        running = self.processes.get(name)
        if running is not None:
            self._crash(running)

    def _bury(self, running: RunningProcess) -> None:
        around = self._around
        running.simulated.life = Life.DEAD
        del self.processes[running.simulated.name]
        around.network.reset_all(running.simulated)
        around.servers.links.remove(running.link)
        around.servers.forget(running.link)
        running.link.die()

    def _start_again(self, name: str) -> None:
        self._lives += 1
        again = f"{name.partition('.')[0]}.{self._lives}"
        network = self._around.network
        delay = self._dice.uniform(*_AGAIN)
        network.call_later(delay, self._start, again, context=network.world)

    def _pause(self, running: RunningProcess) -> None:
        seconds = self._dice.choice(self._pauses)
        self._note(running.simulated.name, "pause", seconds + 1.0)
        running.simulated.life = Life.PAUSED
        network = self._around.network
        network.call_later(seconds, self._resume, running, context=network.world)

    def _resume(self, running: RunningProcess) -> None:
        self._around.network.resume(running.simulated)

    def _cut(self, running: RunningProcess) -> None:
        seconds = self._dice.choice([1.0, 6.0, 13.0, 22.0, 40.0])
        self._note(running.simulated.name, "cut", seconds + 1.0)
        self._around.network.cut(running.simulated, seconds)

    def _break_off(self, running: RunningProcess) -> None:
        self._note(running.simulated.name, "break", 3.0)
        running.link.break_off()

    def _mute(self, running: RunningProcess) -> None:
        seconds = self._dice.choice(self._mutes)
        self._note(EVERYTHING, "mute", seconds + 1.0)
        self._around.servers.mute_until = self._around.network.time() + seconds

    def _deaf(self, running: RunningProcess) -> None:
        self._silence(self._dice.choice([0.5, 4.0, 9.0]))

    def _silence(self, seconds: float) -> None:
        self._note(EVERYTHING, "deaf", seconds + 1.0)
        self._around.servers.deaf_until = self._around.network.time() + seconds

    def _restart(self, running: RunningProcess) -> None:
        seconds = self._dice.choice([0.5, 3.0, 15.0, 25.0])
        self._note(EVERYTHING, "restart", seconds + 5.0)
        self._around.servers.restart(seconds)

    def _fill(self, running: RunningProcess) -> None:
        servers, network = self._around.servers, self._around.network
        seconds = self._dice.choice([2.0, 20.0])
        self._note(EVERYTHING, "full", seconds)
        servers.store.full = True
        network.call_later(seconds, self._make_room, context=network.world)

    def _make_room(self) -> None:
        self._around.servers.store.full = False

    def _stop(self, running: RunningProcess) -> None:
        """Ask a delivery process to stop; it ends when it is done, or is killed after a while."""
        self._note(running.simulated.name, "stop", float("inf"))
        self._ask_to_stop(running)

    def _ask_to_stop(self, running: RunningProcess) -> None:
        if not isinstance(running, DeliveryProcess):
            return
        name = running.simulated.name
        network = self._around.network
        network.create_task(running.stop(), context=running.simulated.context)
        network.call_later(15.0, self._bury_if_there, running, context=network.world)
        self._start_again(name)

    def _bury_if_there(self, running: RunningProcess) -> None:
        if self.processes.get(running.simulated.name) is running:
            self._bury(running)
