"""
docs/recipes.md: each recipe's manifests deliver the mail that the page names, and refuse the rest.

Ingress and delivery run in this process, over a queue in memory. The test plays the network that
the manifests name: clients have their addresses (by a PROXY header), hosts have their names (by the
test's DNS server) and ports (each is mapped to a free loopback port). So the page's manifests are
used unchanged.
"""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from postroad.cli.app import app
from postroad.cli.terminal.help import Unloaded
from postroad.testing.patience import patient
from postroad.testing.peers.mx import Received, ScriptedMx
from postroad_harness.setups.recipes import (
    OUTSIDE,
    PAGE,
    ROOT,
    Recipe,
    option,
    plain,
    submit,
    world,
)

VALUES = (ROOT / "charts" / "postroad" / "README.md").read_text(encoding="utf-8")
NAMES = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)


def loaded(name: str) -> Any:
    """Return a command of `postroad`."""
    below = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    assert isinstance(below, Unloaded)
    return below.loaded()


async def first(mx: ScriptedMx, count: int = 1) -> list[Received]:
    """Wait until a host has so many messages, and return them."""
    return await asyncio.wait_for(mx.received(count), patient(20))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_to_be_typed_is_understood(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.of(name)
    check, up, helm, apply = (
        next(words for words in recipe.commands if " ".join(words).startswith(start))
        for start in ("postroad check", "postroad up", "helm install", "kubectl ")
    )
    folder = check[2]
    assert (option(up, "--config"), option(apply, "-f")) == (folder, folder)
    monkeypatch.chdir(tmp_path)
    Path(folder).mkdir()
    (Path(folder) / "all.yaml").write_text(recipe.manifests)
    result = CliRunner().invoke(app, check[1:])
    assert result.exit_code == 0, result.output
    assert "warning" not in result.output
    for words in recipe.commands:
        if words[0] == "postroad":
            loaded(words[1]).make_context(words[1], words[2:])
    values = [word.partition("=") for word in helm if "=" in word]
    assert ("hostname", "=", option(up, "--hostname")) in values
    assert [key for key, _, _ in values if f"| `{key}` |" not in VALUES] == []


async def test_a_gateway_stands_before_a_mail_server_in_both_directions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, outside = ScriptedMx(), ScriptedMx()
    hosts = {("mail.internal.example.com", 25): inside, ("mx.example.net", 25): outside}
    async with world("Office gateway", tmp_path, monkeypatch, hosts) as office:
        taken, *refused = await office.replies()
        assert taken.startswith("250 2.0.0 queued as ")
        assert refused == ["550 5.1.1 no such recipient here", "550 5.7.1 relay access denied"]
        mail_server = await office.connected("10.0.0.25")
        assert (await submit(mail_server, "info@example.com", "you@example.net"))[:4] == "250 "
        async with office.delivery():
            [came_in] = await first(inside)
            [went_out] = await first(outside)
    assert came_in.recipients == [b"RCPT TO:<info@example.com>"]
    assert went_out.recipients == [b"RCPT TO:<you@example.net>"]


async def test_a_newsletter_does_not_hold_up_what_the_application_sends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mx = ScriptedMx(slowness=0.02)
    hosts = {("mx.example.net", 25): mx}
    name = "SaaS, transactional and bulk"
    async with world(name, tmp_path, monkeypatch, hosts) as saas:
        taken, refused = await saas.replies()
        assert taken.startswith("250 2.0.0 queued as ")
        assert refused == "550 5.7.1 you may not send as this address"
        newsletter = await saas.logged_in("newsletter")
        for _ in range(40):
            await submit(newsletter, "news@example.com", "you@example.net")
        application = await saas.logged_in("app")
        assert (await submit(application, "app@example.com", "you@example.net"))[:4] == "250 "
        async with saas.delivery(room=10):  # the newsletter is more than is in hand at a time
            messages = await first(mx, 42)
    turn = [b"<app@example.com>" in message.mail for message in messages].index(True)
    assert turn < 10


async def test_no_tenant_sends_as_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name, mx = "Tenants by namespace", ScriptedMx()
    hosts = {("mx.example.net", 25): mx}
    async with world(name, tmp_path, monkeypatch, hosts) as tenants:
        taken, refused = await tenants.replies()
        assert taken.startswith("250 2.0.0 queued as ")
        assert refused == "550 5.7.1 you may not send as this address"
        async with tenants.delivery():
            [message] = await first(mx)
    assert message.mail.startswith(b"MAIL FROM:<ops@acme.example>")


async def test_a_tenant_that_claims_all_senders_gets_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "Tenants by namespace"
    claimed = Recipe.of(name).manifests.replace('senders: ["*@globex.example"]', 'senders: ["*"]')
    async with world(name, tmp_path, monkeypatch, {}, manifests=claimed) as tenants:
        globex = await tenants.logged_in("globex")
        said = await submit(globex, "ops@acme.example", "you@example.net")
        assert said == "550 5.7.1 you may not send as this address"
        assert (await submit(globex, "ops@globex.example", "you@example.net"))[:4] == "250 "


async def test_the_second_smarthost_takes_the_mail_that_the_first_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extensions = ("PIPELINING", "8BITMIME", "AUTH PLAIN")
    near, far = ScriptedMx(extensions=extensions), ScriptedMx(extensions=extensions)
    hosts = {("smtp-eu.provider.example", 587): near, ("smtp-us.provider.example", 587): far}
    async with world("Provider fail-over", tmp_path, monkeypatch, hosts) as provider:
        assert await provider.replies() == ["550 5.7.1 relay access denied"]
        await provider.replies(client="10.20.3.4")
        async with provider.delivery():
            [by_first] = await first(near)
            near.greeting = b"421 4.3.2 down for maintenance\r\n"
            near.hang_up_on_all()
            await provider.replies(client="10.20.3.4")
            [by_second] = await first(far)
    login = plain("our-account", provider.recipe.passwords["our-account"])
    for mx, message in ((near, by_first), (far, by_second)):
        assert f"AUTH PLAIN {login}".encode() in mx.commands
        assert message.tls
        assert message.recipients == [b"RCPT TO:<you@example.net>"]


async def test_what_only_receives_takes_its_own_mail_and_tells_of_failures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_billing(line: bytes, _: int) -> bytes | None:
        return b"550 5.2.1 closed\r\n" if line.startswith(b"RCPT TO:<billing@") else None

    inside, outside = ScriptedMx(refuse_billing), ScriptedMx()
    hosts = {("tickets.internal.example.com", 25): inside, ("mx.example.net", 25): outside}
    async with world("Receive only", tmp_path, monkeypatch, hosts) as tickets:
        taken, refused = await tickets.replies()
        assert taken.startswith("250 2.0.0 queued as ")
        assert refused == "550 5.7.1 relay access denied"
        peer = await tickets.connected(OUTSIDE)
        await submit(peer, "you@example.net", "billing@tickets.example.com")
        async with tickets.delivery():
            [message] = await first(inside)
            [notification] = await first(outside)
    assert message.recipients == [b"RCPT TO:<help@tickets.example.com>"]
    assert notification.mail.startswith(b"MAIL FROM:<>")
    assert b"Diagnostic-Code: smtp; 550 5.2.1 closed" in notification.content
