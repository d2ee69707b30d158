"""A short endurance run: both parts work, and their figures are printed."""

from pathlib import Path

import pytest

from postroad_harness.endurance.__main__ import Extent, Memory, run
from postroad_harness.endurance.page import Beside, Figures, Through, load, save, write_page

pytestmark = [pytest.mark.nats, pytest.mark.faults, pytest.mark.timeout(240)]

SHORT = Extent(messages=500, queued=300, live_seconds=1.0, retry=("1h", "4h"), limit=90.0)


async def test_mail_passes_and_a_queue_for_a_dead_destination_drains(tmp_path: Path) -> None:
    through = await run(SHORT, tmp_path, "through")
    beside = await run(SHORT, tmp_path, "beside")
    assert isinstance(through, Through)
    assert isinstance(beside, Beside)
    assert (through.messages, through.lost) == (500, 0)
    assert (beside.queued, beside.drained) == (300, 300)
    assert beside.live_before > 0
    assert beside.live_beside > 0
    assert 0 < beside.restart < 20
    assert {"ingress-0", "delivery-0", "nats-server"} <= beside.largest.keys()
    save(Figures(through), tmp_path / "kept.json")
    kept = load(tmp_path / "kept.json")
    assert kept == Figures(through), "a part alone is kept for the page of both"
    kept.beside = beside
    write_page(kept, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "| messages | 500, " in page
    assert "| drained | 300 in " in page


def test_growth_is_the_last_third_beside_the_second() -> None:
    flat = Memory([{"a": size} for size in (1, 5, 9, 10, 10, 10, 10, 10, 10)])
    grown = Memory([{"a": size} for size in (1, 5, 9, 10, 10, 10, 20, 20, 20)])
    assert flat.growth() == {"a": 0.0}
    assert grown.growth() == {"a": 1.0}
    assert grown.largest() == {"a": 20}
