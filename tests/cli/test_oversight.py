"""What `postroad up` finds out about its objects, and how `postroad status` shows it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from postroad.cli.commands.status_objects import print_findings
from postroad.cli.standalone.oversight import count_objects, findings
from postroad.cli.state.findings import (
    MOST,
    Findings,
    ObjectTrouble,
    QuotaUse,
    read_findings,
    write_findings,
)
from postroad.cli.state.folder import StateFolder
from postroad.manifests.compiler.check import Checked, check
from postroad.manifests.objects import Kind
from postroad.operator.status.conditions import Judgement, Truth, Type
from postroad.policy.model import ObjectKey

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
HEAD = "apiVersion: postroad.dev/v1alpha1\n"
RELAY = f"""{HEAD}kind: Relay
metadata: {{name: out}}
spec: {{destinations: ['*'], mx: {{}}, retry: RETRY}}
"""
DOMAIN = HEAD + "kind: Domain\nmetadata: {name: shop}\nspec: {domain: shop.example, sned: {}}\n"
FOUND = Findings(
    at=NOW,
    mistakes=("a.yaml:3: spec.sned: is not a field here",),
    troubles=(ObjectTrouble("Relay default/out", "Reachable", "NoAnswer", "mx does not answer"),),
    quotas=(QuotaUse("default/few", "messages/1h", "", 4, 5, "2026-11-29T13:00:00Z"),),
)


@pytest.fixture
def edited(tmp_path: Path) -> Checked:
    """What is found after an edit that spoils a Relay, beside a Domain that was never right."""
    file = tmp_path / "a.yaml"
    file.write_text(RELAY.replace("RETRY", "{first: 5m}"))
    good = check([file]).compiled.entries
    file.write_text(RELAY.replace("RETRY", "{first: 5x}") + "---\n" + DOMAIN)
    return check([file], last_good=good)


def test_what_is_not_ready_is_told_with_the_sentences_of_check(edited: Checked) -> None:
    found = findings(edited, {}, {}, NOW)
    assert list(found.mistakes) == [str(mistake) for mistake in edited.mistakes]
    assert [(each.object, each.condition, each.reason) for each in found.troubles] == [
        ("Domain default/shop", "Ready", "Invalid"),
        ("Relay default/out", "Ready", "Stale"),
    ]
    assert "'5x' is not a duration" in found.troubles[1].message


def test_objects_are_counted_by_kind_and_readiness(edited: Checked) -> None:
    counts = count_objects(edited.compiled)
    assert {each: number for each, number in counts.items() if number} == {
        (Kind.DOMAIN, "false"): 1,
        (Kind.RELAY, "false"): 1,
    }
    assert (Kind.QUOTA, "true") in counts


def test_smarthosts_that_do_not_answer_and_quotas_are_told() -> None:
    away = Judgement(Type.REACHABLE, Truth.FALSE, "NoAnswer", "mx:25 does not answer")
    there = Judgement(Type.REACHABLE, Truth.TRUE, "Greeted", "a smarthost greets")
    reachable = {ObjectKey("default", "out"): away, ObjectKey("default", "good"): there}
    line = {"limit": "messages/1h", "used": 1, "max": 100, "resetsAt": "2026-11-29T13:00:00Z"}
    usage = {
        ObjectKey("shop", "few"): [line, line | {"subject": "a@shop.example", "used": 90}],
        ObjectKey("shop", "all"): [line | {"used": 50}],
    }
    found = findings(check([]), reachable, usage, NOW)
    assert [(each.object, each.message) for each in found.troubles] == [
        ("Relay default/out", "mx:25 does not answer")
    ]
    assert [(each.quota, each.subject, each.used) for each in found.quotas] == [
        ("shop/few", "a@shop.example", 90),
        ("shop/all", "", 50),
        ("shop/few", "", 1),
    ]


def test_the_file_of_findings_is_bounded(edited: Checked) -> None:
    many = Checked(edited.mistakes * MOST, edited.compiled)
    found = findings(many, {}, {}, NOW)
    assert len(found.mistakes) == MOST
    assert found.more == len(many.mistakes) - MOST


def test_findings_are_read_as_they_were_written(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    assert read_findings(state) is None
    write_findings(state, FOUND)
    assert read_findings(state) == FOUND
    assert state.findings.stat().st_mode & 0o777 == 0o600
    for text in ("", "[]", "{}", '{"at": "2026-11-29T12:00:00Z", "mistakes": 5}'):
        state.findings.write_text(text)
        assert read_findings(state) is None


def test_the_page_shows_them(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(FOUND, NOW, wide=True)
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines() if line]
    assert lines == [
        "Mistakes in the manifests, as `postroad check` tells them:",
        "a.yaml:3: spec.sned: is not a field here",
        "OBJECT CONDITION REASON MESSAGE",
        "Relay default/out not Reachable NoAnswer mx does not answer",
        "QUOTA LIMIT SUBJECT USED MAX RESETS",
        "default/few messages/1h 4 (80%) 5 in 60m",
    ]


def test_the_page_says_how_many_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(replace(FOUND, mistakes=["spec.sned"] * 50, more=7), NOW, wide=False)
    out = capsys.readouterr().out
    assert out.count("spec.sned") == 20
    assert "and 37 more" in out


def test_nothing_is_shown_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings(Findings(NOW + timedelta(days=1)), NOW, wide=False)
    assert capsys.readouterr().out == ""
