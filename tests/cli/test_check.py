"""`postroad check` as people and their pipelines use it."""

import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postroad.cli.__main__ import app
from postroad.cli.check import check as check_command

GOOD = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], mx: {}}
"""
WRONG = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: other}
spec:
  destinations: ["*"]
  smarthosts: [{host: mail.example.com, port: 99999}]
  retry: {first: soon}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: shop}
spec:
  senders: ["*"]
  auth: {secretRef: {name: nowhere}}
"""


def check(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["check", *arguments])
    return result.exit_code, result.output


def test_good_manifests_are_fine(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(GOOD)
    assert check(str(tmp_path)) == (0, "No mistakes.\n")


def test_each_mistake_is_a_line_with_file_line_field_and_reason(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(WRONG)
    code, output = check(str(tmp_path))
    assert code == 1
    lines = [line for line in output.splitlines() if line.startswith(f"{wrong}:")]
    places = [line.removeprefix(f"{wrong}:").split(": ")[:2] for line in lines]
    assert places == [
        ["6", "spec.smarthosts[0].port"],
        ["7", "spec.retry.first"],
        ["14", "spec.auth.secretRef.name"],
    ]
    assert all(line.count(": ") >= 2 and not line.endswith(": ") for line in lines)


def test_mistakes_for_other_programs(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(WRONG)
    code, output = check("--json", str(wrong))
    assert code == 1
    found = json.loads(output.splitlines()[0])
    assert (found["file"], found["line"]) == (str(wrong), 6)
    assert found["field"] == "spec.smarthosts[0].port"
    assert found["reason"]


def test_what_is_no_yaml_is_told_with_its_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yaml"
    broken.write_text(GOOD + "spec: {destinations: [\n")
    code, output = check(str(broken))
    assert code == 1
    assert output.startswith(f"{broken}:")
    assert "Traceback" not in output


def test_a_path_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    code, output = check(str(tmp_path / "nothing"))
    assert code == 1
    assert len(output.strip().splitlines()) == 1
    assert "nothing" in output


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_at_a_terminal_it_tells_how_far_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 1500  # a second's work, so that it is told at least once
    (tmp_path / "many.yaml").write_text(
        "---\n".join(GOOD.replace("name: out", f"name: out{number}") for number in range(count))
    )
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    check_command([tmp_path])
    assert "objects read" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\033[K")
