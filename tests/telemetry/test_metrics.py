"""Metrics: rules of their declarations, /metrics, and several processes on one page."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from postroad.telemetry import metrics
from postroad.telemetry.exposition import Format, merge
from postroad.telemetry.metrics import Group

ROOT = Path(__file__).parents[2]

GROUP = Group("Test", "Only here.")
MAIL = GROUP.counter(
    "postroad_test_messages_total", "Messages.", labels={"result": ("accepted", "refused")}
)
OPEN = GROUP.gauge("postroad_test_open", "Open.", labels={"lane": "one per lane"})
TOOK = GROUP.histogram("postroad_test_took_seconds", "How long.", buckets=metrics.SECONDS)


def value(page: str, series: str) -> str | None:
    found = re.search(rf"^{re.escape(series)} (.+)$", page, re.MULTILINE)
    return found[1] if found else None


def test_a_closed_label_shows_its_series_from_the_start_at_zero() -> None:
    page = metrics.exposition()
    assert value(page, 'postroad_test_messages_total{result="refused"}') == "0.0"
    assert "postroad_test_open{" not in page


def test_what_is_counted_is_shown() -> None:
    MAIL.labels("accepted").inc()
    OPEN.labels("p01").set(3)
    TOOK.observe(0.003)
    page = metrics.exposition()
    assert value(page, 'postroad_test_messages_total{result="accepted"}') == "1.0"
    assert value(page, 'postroad_test_open{lane="p01"}') == "3.0"
    assert value(page, 'postroad_test_took_seconds_bucket{le="0.005"}') == "1.0"
    assert "_created" not in page
    assert value(page, "process_resident_memory_bytes") is not None


@pytest.mark.parametrize(
    ("name", "labels", "said"),
    [
        ("postroad_mail", {}, "ends in _total"),
        ("mail_total", {}, "starts with postroad_"),
        ("postroad_Mail_total", {}, "lower-case"),
        ("postroad_mail_total", {"recipient": "whoever gets it"}, "nothing bounds"),
        ("postroad_mail_total", {"queue_id": "each"}, "nothing bounds"),
    ],
)
def test_what_may_not_be_declared(name: str, labels: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        GROUP.counter(name, "Mail.", labels=labels)
    assert name not in {each.name for each in metrics.declared}


def test_a_histogram_of_durations_says_its_unit() -> None:
    with pytest.raises(ValueError, match="_seconds"):
        GROUP.histogram("postroad_test_took", "How long.")


def test_pages_of_several_processes_become_one() -> None:
    page = (
        "# HELP postroad_a_total A {brace}.\n# TYPE postroad_a_total counter\n"
        'postroad_a_total{result="a } b\\"{"} 1.0\n'
        "# HELP postroad_s_seconds S.\n# TYPE postroad_s_seconds histogram\n"
        'postroad_s_seconds_bucket{le="+Inf"} 2.0\npostroad_s_seconds_sum 0.1\n'
        "# HELP postroad_b B.\n# TYPE postroad_b gauge\npostroad_b 1e-05\n"
    )
    assert merge({"ingress-0": page, 'odd"\n': page.replace("1.0", "7.0")}) == (
        "# HELP postroad_a_total A {brace}.\n# TYPE postroad_a_total counter\n"
        'postroad_a_total{process="ingress-0",result="a } b\\"{"} 1.0\n'
        'postroad_a_total{process="odd\\"\\n",result="a } b\\"{"} 7.0\n'
        "# HELP postroad_s_seconds S.\n# TYPE postroad_s_seconds histogram\n"
        'postroad_s_seconds_bucket{process="ingress-0",le="+Inf"} 2.0\n'
        'postroad_s_seconds_sum{process="ingress-0"} 0.1\n'
        'postroad_s_seconds_bucket{process="odd\\"\\n",le="+Inf"} 2.0\n'
        'postroad_s_seconds_sum{process="odd\\"\\n"} 0.1\n'
        "# HELP postroad_b B.\n# TYPE postroad_b gauge\n"
        'postroad_b{process="ingress-0"} 1e-05\npostroad_b{process="odd\\"\\n"} 1e-05\n'
    )


def test_a_merged_page_has_every_sample_for_each_process() -> None:
    own = metrics.exposition()
    merged = list(text_string_to_metric_families(merge({"a": own, "b": own})))
    for family in merged:
        by_process = {"a": 0, "b": 0}
        for sample in family.samples:
            by_process[sample.labels["process"]] += 1
        assert by_process["a"] == by_process["b"] > 0
    count = sum(len(family.samples) for family in text_string_to_metric_families(own))
    assert sum(len(family.samples) for family in merged) == 2 * count


def samples_of(page: str) -> int:
    families = openmetrics_families(page)  # type: ignore[no-untyped-call]
    return sum(len(family.samples) for family in families)


def test_a_merged_page_of_openmetrics_is_one() -> None:
    own = metrics.exposition(Format.OPENMETRICS)
    merged = merge({"a": own, "b": own})
    assert merged.count("# EOF") == 1
    assert samples_of(merged) == 2 * samples_of(own)


def test_the_documentation_is_what_the_declarations_say(tmp_path: Path) -> None:
    written = tmp_path / "metrics.md"
    # A process of its own: this one has declared test metrics.
    subprocess.run(
        [sys.executable, "-Im", "postroad.telemetry.metrics_page", str(written)], check=True
    )
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == written.read_text(
        encoding="utf-8"
    ), "docs/metrics.md is old: run `make docs`"
