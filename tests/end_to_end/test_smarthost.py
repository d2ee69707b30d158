"""README's smarthost with TLS and a login, with the sink as the provider."""

import asyncio
import os
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroad.testing.children import started
from postroad.testing.patience import patient
from postroad.testing.processes.relay import RunningRelay

pytestmark = pytest.mark.nats

StartRelay = Callable[..., Awaitable[RunningRelay]]
README = Path(__file__).parents[2] / "README.md"


def manifests(port: str) -> str:
    """Return the example of README's section on one machine, led to the sink."""
    section = README.read_text(encoding="utf-8").partition("## On one machine")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    assert "tls: {mode: Required}" in example
    here = example.replace("smtp.provider.example, port: 587", f"localhost, port: {port}")
    assert "postroad.dev/hosts: smtp.provider.example" in example
    here = here.replace("hosts: smtp.provider.example", "hosts: localhost")
    return here.replace("10.20.0.0/16", "127.0.0.0/8")


async def test_the_example_delivers_to_a_sink_with_tls_and_a_login(
    start_relay: StartRelay, tmp_path: Path
) -> None:
    flags = ("--listen", "127.0.0.1:0", "--tls", "--keep", str(tmp_path / "mail"))
    auth = ("--auth", "example:what the provider gave you")
    environment = {**os.environ, "POSTROAD_STATE": str(tmp_path / "sink")}
    async with started("sink", *flags, *auth, environment=environment) as sink:
        assert sink.stderr is not None
        said = (await sink.stderr.readline()).decode()
        told = re.fullmatch(r"sink listens on .*:(\d+), with the certificate (\S+)\n", said)
        assert told is not None, said
        relay = await start_relay(manifests(told[1]), POSTROAD_TLS_CA_FILE=told[2])
        code, _, err = await relay.command(
            *("send", "--server", relay.addresses["relay"], "--to", "you@far.example"),
            *("--from", "shop@example.com"),
        )
        assert code == 0, err
        async with asyncio.timeout(patient(20)):
            while not (kept := list((tmp_path / "mail").glob("*.eml"))):
                await asyncio.sleep(0.05)
        assert b"X-Envelope-To: you@far.example\r\n" in kept[0].read_bytes()
