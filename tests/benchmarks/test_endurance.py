"""A short endurance run: all of it works, and its figures are told."""

from pathlib import Path

import pytest

from postroad.testing.endurance_run import Extent, Memory, rows, run, write_page

pytestmark = [pytest.mark.nats, pytest.mark.faults, pytest.mark.timeout(240)]

SHORT = Extent(messages=500, queued=300, live_seconds=1.0, retry=("2s", "4s"), limit=90.0)


async def test_mail_passes_and_a_queue_for_a_dead_destination_drains(tmp_path: Path) -> None:
    figures = await run(SHORT, tmp_path)
    print("\n".join(f"{title}: {text}" for title, text in rows(figures)))
    assert (figures.through, figures.through_lost) == (500, 0)
    assert (figures.queued, figures.drained) == (300, 300)
    assert figures.live_rate_before > 0
    assert figures.live_rate_beside > 0
    assert 0 < figures.restart < 20
    assert {"ingress-0", "delivery-0", "nats-server"} <= figures.beside_memory.keys()
    write_page(figures, tmp_path / "page.md")
    assert "| drained | 300 in " in (tmp_path / "page.md").read_text()


def test_growth_is_the_last_third_beside_the_second() -> None:
    flat = Memory([{"a": size} for size in (1, 5, 9, 10, 10, 10, 10, 10, 10)])
    grown = Memory([{"a": size} for size in (1, 5, 9, 10, 10, 10, 20, 20, 20)])
    assert flat.growth() == {"a": 0.0}
    assert grown.growth() == {"a": 1.0}
    assert grown.largest() == {"a": 20}
