"""`postroad check` as users and their pipelines run it."""

import io
import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from postroad.cli.app import app
from postroad.cli.commands.check import check as check_command

GOOD = """\
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: out}
spec: {destinations: ["*"], mx: {}}
"""
DOMAIN = """\
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {{name: {0}}}
spec: {{domain: {0}.example, send: {{}}}}
"""
OTHER = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
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
    assert check(str(tmp_path)) == (0, "No mistakes in 1 object (1 Relay).\n")


GRANT = """\
apiVersion: postroad.dev/v1alpha1
kind: DomainGrant
metadata: {name: g, namespace: mail}
spec: {domains: ["*.example"], namespaces: [shop]}
"""


def test_a_grant_is_read_and_a_domain_without_one_is_warned_of(tmp_path: Path) -> None:
    shop = DOMAIN.format("a").replace("{name: a}", "{name: a, namespace: shop}")
    (tmp_path / "a.yaml").write_text(shop)
    (tmp_path / "g.yaml").write_text(GRANT)
    assert check(str(tmp_path)) == (0, "No mistakes in 2 objects (1 Domain, 1 DomainGrant).\n")
    (tmp_path / "g.yaml").write_text(GRANT.replace("*.example", "b.example"))
    code, output = check(str(tmp_path))
    assert code == 0
    assert "a.yaml:4: spec.domain: no DomainGrant gives a.example to namespace shop" in output
    (tmp_path / "g.yaml").write_text(GRANT.replace("[shop]", "[Shop]"))
    code, output = check(str(tmp_path))
    assert (code, "g.yaml:4: spec.namespaces[0]: 'Shop' is not a name" in output) == (1, True)


def test_a_name_that_two_namespaces_claim_is_told_at_the_second(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(DOMAIN.format("a"))
    (tmp_path / "b.yaml").write_text(
        DOMAIN.format("a").replace("{name: a}", "{name: a, namespace: b}")
    )
    code, output = check(str(tmp_path))
    assert code == 1
    assert (
        "b.yaml:4: spec.domain: another namespace has a better or older claim to a.example"
        in output
    )


LOGIN = """\
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {username: us, password: secret}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: provider}
spec:
  smarthosts: [{host: smtp.provider.example, port: 587}]
  auth: {secretRef: {name: login}}
  tls: {mode: Required%s}
"""


@pytest.mark.parametrize(("more", "warned"), [("", 0), (", allowUnverifiedLogin: true", 1)])
def test_a_login_that_may_go_to_anybody_is_warned_of(
    tmp_path: Path, more: str, warned: int
) -> None:
    (tmp_path / "relay.yaml").write_text(LOGIN % more)
    code, output = check(str(tmp_path))
    assert code == 0
    assert output.count("the password is sent to hosts whose certificate is not checked") == warned
    assert output.count("spec.tls.allowUnverifiedLogin") == warned


def test_what_was_looked_at_is_counted_by_kind(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(GOOD)
    (tmp_path / "more.yaml").write_text(
        "---\n".join([DOMAIN.format("a"), DOMAIN.format("b"), OTHER])
    )
    code, output = check(str(tmp_path))
    assert (code, output) == (
        0,
        "No mistakes in 3 objects (2 Domains, 1 Relay);"
        " passed over: 1 of other groups (ConfigMap of v1).\n",
    )


@pytest.mark.parametrize("text", ["", OTHER])
def test_nothing_for_postroad_is_said_to_be_that(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.yaml").write_text(text)
    code, output = check(str(tmp_path))
    assert code == 0
    assert output.startswith("There is no object of Postroad here")


def test_a_group_that_is_nearly_ours_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "relay.yaml").write_text(GOOD.replace("postroad.dev", "postroad.io"))
    code, output = check(str(tmp_path))
    assert code == 1
    assert "'postroad.io/v1alpha1' is unknown; use postroad.dev/v1alpha1" in output


CLIENT = """\
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {{name: shop, namespace: {namespace}}}
spec: {{networks: [192.0.2.0/24], senders: ["*@{sender}"]}}
---
"""
SENDING = """\
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {name: sending}
spec: {domain: sends.example, send: {relayRef: {name: out}}}
---
"""


@pytest.mark.parametrize(
    ("namespace", "sender", "warned"),
    [
        ("default", "a.example", False),  # a Relay of its namespace
        ("other", "a.example", True),
        ("other", "sends.example", False),  # its sender's Domain names one
        ("other", "*.example", False),
    ],
)
def test_a_client_whose_mail_no_relay_can_carry_is_warned_of(
    tmp_path: Path, namespace: str, sender: str, warned: bool
) -> None:
    client = CLIENT.format(namespace=namespace, sender=sender)
    admitting = SENDING.replace("send:", "allowedNamespaces: {from: All}, send:")
    (tmp_path / "all.yaml").write_text(client + admitting + GOOD)
    code, output = check(str(tmp_path))
    assert code == 0, output
    sentence = f"no Relay can carry mail of Client {namespace}/shop; declare one in namespace"
    assert (sentence in output) is warned
    assert output.splitlines()[-1] == "No mistakes in 3 objects (1 Client, 1 Domain, 1 Relay)."
    _, output = check("--json", str(tmp_path))
    assert [json.loads(line)["level"] for line in output.splitlines()] == ["warning"] * warned


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


PASSWORD_CLIENT = """\
---
apiVersion: v1
kind: Secret
metadata: {name: shop}
stringData: {username: shop, password: %s}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: shop}
spec: {auth: {secretRef: {name: shop}}, senders: ["*"]}
"""


@pytest.mark.parametrize(("password", "short"), [("hunter2", True), ("x" * 12, False)])
def test_a_short_password_is_a_warning_that_does_not_show_it(
    tmp_path: Path, password: str, short: bool
) -> None:
    (tmp_path / "client.yaml").write_text(GOOD + PASSWORD_CLIENT % password)
    code, output = check(str(tmp_path))
    assert code == 0
    assert ("fewer than 12 characters" in output) is short
    assert ("client.yaml:" in output) is short
    assert password not in output


def test_a_check_spends_no_time_on_hashing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []

    def noted(name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        rounds.append(iterations)
        return b"x" * 32

    monkeypatch.setattr("hashlib.pbkdf2_hmac", noted)
    (tmp_path / "client.yaml").write_text(GOOD + PASSWORD_CLIENT % ("x" * 12))
    assert check(str(tmp_path))[0] == 0
    assert sum(rounds) < 100


def test_what_no_queue_would_store_is_a_mistake_at_the_list_that_is_too_long(
    tmp_path: Path,
) -> None:
    addresses = [f"{number:05}{'x' * 215}@in.example" for number in range(10_000)]
    (tmp_path / "domain.yaml").write_text(
        "apiVersion: postroad.dev/v1alpha1\nkind: Domain\nmetadata: {name: in}\nspec:\n"
        "  domain: in.example\n  receive:\n    route: {hosts: [{host: real.example}]}\n"
        f"    recipients:\n      mode: List\n      addresses: {json.dumps(addresses)}\n"
    )
    code, output = check(str(tmp_path))
    assert code == 1
    assert (
        "domain.yaml:10: spec.receive.recipients.addresses: the stored object would have 2340"
        in output
    )
    assert "octets, and at most 2031616 are allowed" in output
