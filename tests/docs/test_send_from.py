"""
docs/send-from.md: runs every example unchanged against an ingress.

Each test runs a program four times. Some programs take a second to start. One of the four runs
waits for the reply to a wrong password, which the relay holds back.
"""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from postroad.acceptance import verdicts
from postroad.acceptance.admission import ListenerKind
from postroad.ingress import replies
from postroad.smtp.reply import Reply
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient
from postroad.testing.peers.certificates import tls_pair
from postroad.testing.peers.smtp_peer import client_context
from postroad.testing.processes.ingress import Scene, start_ingress
from postroad_harness.left_out import leave_out

PAGE = (Path(__file__).parents[2] / "docs" / "send-from.md").read_text(encoding="utf-8")
# Who logs in well, and may not send as shop@example.com.
OTHER = """\
---
apiVersion: v1
kind: Secret
metadata: {name: other-login}
stringData: {username: other, password: change-me-too}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: other}
spec: {auth: {secretRef: {name: other-login}}, senders: ["*@other.example"]}
"""


@dataclass(frozen=True)
class Program:
    """What runs a section's example: the fence it is in, how it is run, and what it needs."""

    section: str
    fence: str
    command: tuple[str, ...]
    probe: str  # a shell command that succeeds where all is installed
    packages: str  # Debian's


PROGRAMS = (
    Program(
        "swaks",
        "sh",
        ("sh", "-eu"),
        "swaks --version && perl -MNet::SSLeay -e 1",
        "swaks libnet-ssleay-perl",
    ),
    Program("curl", "sh", ("sh", "-eu"), "curl --version", "curl"),
    Program("Python", "python", (sys.executable, "-I"), "true", "python3"),
    Program(
        "Node.js",
        "js",
        ("node",),
        "node --eval 'require(\"nodemailer\")'",
        "nodejs node-nodemailer",
    ),
    Program(
        "PHP",
        "php",
        ("php",),
        "php --run 'require \"/usr/share/php/libphp-phpmailer/autoload.php\";'",
        "php-cli libphp-phpmailer",
    ),
    Program(
        "Ruby on Rails",
        "ruby",
        ("ruby",),
        "ruby -e 'gem \"actionmailer\"'",
        "ruby-actionmailer",
    ),
)
# Another Node.js than Debian's does not look where Debian has its modules.
SURROUNDINGS = {**os.environ, "LC_ALL": "C.UTF-8", "NODE_PATH": "/usr/share/nodejs"}


def section(name: str) -> str:
    """Return a section of the page."""
    found = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    assert found, name
    return found


def example(text: str, fence: str) -> str:
    """Return the one example of a section."""
    [found] = re.findall(rf"^```{fence}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return str(found)


def sayings(program: Program) -> dict[str, str]:
    """Return what the page promises that a program says, by what is wrong."""
    rows = re.findall(r"^\| ([a-z ]+) \| `(.*)` \|$", section(program.section), re.MULTILINE)
    assert len(rows) == 3
    return dict(rows)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    """Run an ingress on the manifests of the page, with one Client more."""
    scene = await start_ingress(tls=tmp_path / "tls")
    try:
        await scene.configure(example(section("What the relay needs"), "yaml") + OTHER, tmp_path)
        yield scene
    finally:
        await scene.end()


async def run(program: Program, folder: Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run the example of a program; return its exit code and all that it said."""
    script = folder / f"example.{program.fence}"
    script.write_text(example(section(program.section), program.fence))
    process = await asyncio.create_subprocess_exec(
        *(*program.command, str(script)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**SURROUNDINGS, **environment},
        preexec_fn=dies_with_us(),
    )
    try:
        async with asyncio.timeout(patient(30)):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def is_installed(program: Program) -> bool:
    """Whether all that an example needs is there."""
    probe = subprocess.run(("sh", "-c", program.probe), capture_output=True, env=SURROUNDINGS)
    return probe.returncode == 0


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.section)
async def test_an_example_sends_and_says_what_is_wrong(
    program: Program, scene: Scene, tmp_path: Path
) -> None:
    if not is_installed(program):
        leave_out(
            f"the example for {program.section} cannot be run; on Debian and Ubuntu: "
            f"apt-get install {program.packages}"
        )
    unknown = tmp_path / "unknown.pem"
    unknown.write_text(tls_pair("localhost", "somebody else")[0])
    settings = dict(re.findall(r"(SMTP_\w+)=(\S+)", section("What the relay needs"))) | {
        "SMTP_HOST": "localhost",
        "SMTP_PORT": str(scene.ports[ListenerKind.SUBMISSION]),
        "SMTP_CA": str(tmp_path / "tls" / "cert.pem"),
    }
    code, said = await run(program, tmp_path, settings)
    assert code == 0, said
    [record] = scene.records
    assert str(record.reverse_path) == "shop@example.com"
    assert [str(each.mailbox) for each in record.recipients] == ["you@example.net"]
    assert b"with ESMTPSA" in record.trace
    body = await scene.body()
    assert f"Subject: Hello from {program.section.removeprefix('Ruby on ')}\r\n".encode() in body
    assert b"\r\n\r\nIt works." in body
    wrong = {
        "wrong password": {"SMTP_PASSWORD": "wrong"},
        "sender not allowed": {"SMTP_USER": "other", "SMTP_PASSWORD": "change-me-too"},
        "certificate not trusted": {"SMTP_CA": str(unknown)},
    }
    for what, saying in sayings(program).items():
        code, said = await run(program, tmp_path, settings | wrong[what])
        assert code != 0, what
        assert saying in said, what
    assert scene.records == [record]


def test_the_replies_on_the_page_are_those_of_the_relay() -> None:
    rows = re.findall(r"^\| `(\d{3} .*?)` \|", section("What the relay replies"), re.MULTILINE)
    assert len(rows) > 10
    said = [*vars(replies).values(), *vars(verdicts).values()]
    known = {str(reply) for reply in said if isinstance(reply, Reply)}
    assert set(rows) - known == set()


async def test_a_client_without_a_login_hears_what_the_page_says(scene: Scene) -> None:
    text = section("What the relay replies")
    stranger = await scene.peer(ListenerKind.RELAY)
    said = await stranger.envelope("shop@example.com", "you@example.net")
    assert f"| `{said[1]}` | port 25, no login" in text
    peer = await scene.peer(ListenerKind.SUBMISSION)
    await peer.say("EHLO client.example")
    assert f"| `{await peer.say('AUTH PLAIN AGEAYg==')}` | AUTH came before STARTTLS" in text
    await peer.say("STARTTLS")
    await peer.start_tls(client_context())
    await peer.say("EHLO client.example")
    assert f"| `{await peer.say('MAIL FROM:<shop@example.com>')}` | port 587" in text
