"""
Checks, at a start without --config, that the queue in the state folder is the example's own.

This comes before the example is written, its sink is opened, or anything is published.
"""

from postroad.cli.state.configured import Routes, is_the_examples, not_the_example, routes
from postroad.cli.state.folder import StateFolder
from postroad.cli.threads import in_daemon_thread
from postroad.manifests.compiler.check import check
from postroad.policy.secrets.seal import Keyrings
from postroad.policy.snapshot import SnapshotLoader
from postroad.spool.interface import Spool


async def refuse_anothers_queue(state: StateFolder, spool: Spool, keyrings: Keyrings) -> None:
    """Raise CommandError if the queue may hold mail that the example would send to its sink."""
    last = await spool.config.last()
    if last is None or not last.entries:
        if any(tally.number for tally in (await spool.waiting.counts()).values()):
            raise not_the_example(state)
        return
    loaded = SnapshotLoader(keyrings).load(last.generation, last.entries)
    example = await in_daemon_thread(_routes_of_example, state)
    # An unreadable entry was sealed with another key, and the example has no sealed secrets.
    if loaded.unreadable or not is_the_examples(routes(loaded.entries.values()), example):
        raise not_the_example(state)


def _routes_of_example(state: StateFolder) -> Routes | None:
    if not state.example.is_dir():
        return None
    return routes(check((state.example,)).compiled.entries.values())
