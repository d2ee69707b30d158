"""Commands against a cluster on Kubernetes: through kubectl from outside, by settings inside."""

import asyncio
import base64
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from postroad.spool.event import Event, EventType
from postroad.spool.interface import Deferred
from postroad.spool.jetstream.opening import connect, provision
from postroad.spool.jetstream.spool import JetStreamSpool
from postroad.spool.lanes.layout import SINGLE_MACHINE
from postroad.testing import children
from postroad.testing.patience import patient
from postroad.testing.queue.accounts import API_PREFIX, as_role, password_of
from postroad.testing.queue.nats_server import NatsServer
from postroad.testing.queue.queued_mail import now, put
from postroad.testing.queue.server_tls import ServerTls

pytestmark = pytest.mark.nats

ACCOUNTS = Path(__file__).parents[2] / "charts" / "postroad" / "files" / "nats-accounts.conf"

# What kubectl is to the command: services, a Secret, and a forward that is a real one.
KUBECTL = """#!{python} -I
import asyncio, json, os, sys
from pathlib import Path

world = json.loads(Path({world!r}).read_text())
Path({calls!r}).open("a").write(json.dumps(sys.argv[1:]) + "\\n")
arguments = sys.argv[1:]
if "--context" in arguments and arguments[arguments.index("--context") + 1] != "production":
    sys.exit('error: context "' + arguments[arguments.index("--context") + 1] + '" does not exist')
if "get" in arguments and "services" in arguments:
    wanted = dict(p.split("=") for p in arguments[arguments.index("--selector") + 1].split(","))
    found = [s for s in world["services"] if wanted.items() <= s["metadata"]["labels"].items()]
    print(json.dumps({{"items": found}}))
elif "get" in arguments:
    name = arguments[arguments.index("secret") + 1]
    if name not in world["secrets"]:
        sys.exit('Error from server (NotFound): secrets "' + name + '" not found')
    if world["secrets"][name] is None:
        sys.exit('Error from server (Forbidden): secrets "' + name + '" is forbidden: no')
    print(json.dumps({{"data": world["secrets"][name]}}))
else:
    async def pump(reader, writer):
        while octets := await reader.read(65536):
            writer.write(octets)
        writer.close()

    async def forward(reader, writer):
        far = await asyncio.open_connection("127.0.0.1", world["port"])
        await asyncio.gather(pump(reader, far[1]), pump(far[0], writer))

    async def serve():
        Path({pid!r}).write_text(str(os.getpid()))
        near = arguments[-1].partition(":")[0] or 0
        server = await asyncio.start_server(forward, "127.0.0.1", int(near))
        port = server.sockets[0].getsockname()[1]
        print(f"Forwarding from 127.0.0.1:{{port}} -> 4222", flush=True)
        await server.serve_forever()

    asyncio.run(serve())
"""


def service(name: str, release: str, **more: object) -> dict[str, object]:
    labels = {
        "app.kubernetes.io/part-of": "postroad",
        "app.kubernetes.io/component": "nats",
        "app.kubernetes.io/instance": release,
    }
    spec = {"clusterIP": "10.0.0.1"} | more
    metadata = {
        "name": name,
        "labels": labels,
        "annotations": {
            "postroad.dev/api-prefix": API_PREFIX,
            "postroad.dev/tls-secret": "mail-postroad-nats-tls",
        },
    }
    return {"metadata": metadata, "spec": spec}


@dataclass
class Cluster:
    """What the fake kubectl finds, and how the command is run with it on the path."""

    folder: Path
    server: NatsServer
    tls: ServerTls
    services: list[dict[str, object]] = field(default_factory=list)
    secrets: dict[str, object] = field(default_factory=dict)

    @property
    def pid(self) -> int:
        """The running port-forward's process id."""
        return int((self.folder / "pid").read_text())

    def calls(self) -> list[list[str]]:
        """Return how kubectl was called."""
        return list(map(json.loads, (self.folder / "calls").read_text().splitlines()))

    def write(self) -> None:
        """Make kubectl."""
        port = int(self.server.url.rpartition(":")[2])
        world = {"services": self.services, "secrets": self.secrets, "port": port}
        (self.folder / "world.json").write_text(json.dumps(world))
        names = {name: str(self.folder / name) for name in ("calls", "pid")}
        script = self.folder / "bin" / "kubectl"
        script.parent.mkdir(exist_ok=True)
        script.write_text(
            KUBECTL.format(python=sys.executable, world=str(self.folder / "world.json"), **names)
        )
        script.chmod(0o755)

    def environment(self, **environ: str) -> dict[str, str]:
        """Return what a command finds in its environment."""
        kept = {name: value for name, value in os.environ.items() if "POSTROAD" not in name}
        return {**kept, "PATH": str(self.folder / "bin"), "HOME": str(self.folder), **environ}

    async def run(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        """Run a command to its end; return its exit code, output and complaints."""
        code, out, err = await children.run(*arguments, environment=self.environment(**environ))
        return code, out, err.strip()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    (tmp_path / "server").mkdir()
    tls = ServerTls(tmp_path / "server")
    async with NatsServer(tmp_path / "server", accounts=ACCOUNTS, more=tls.config) as server:
        operator = as_role("operator", server.url, trust=tls.trust)
        await provision(operator, layout=SINGLE_MACHINE)
        found = Cluster(tmp_path, server, tls)
        found.services = [
            service("mail-postroad-nats-headless", "mail", clusterIP="None"),
            service("mail-postroad-nats", "mail"),
        ]
        secret = {"command": base64.b64encode(password_of("command").encode()).decode()}
        authority = base64.b64encode(tls.authorities.read_bytes()).decode()
        found.secrets = {"mail-postroad-nats-auth": secret, "other-auth": {}, "closed-auth": None}
        found.secrets["mail-postroad-nats-tls"] = {"ca.crt": authority}
        found.write()
        yield found
        assert "Violation" not in server.log


@pytest.fixture
async def ingress(cluster: Cluster) -> AsyncIterator[JetStreamSpool]:
    spool = await connect(as_role("ingress", cluster.server.url, trust=cluster.tls.trust))
    yield spool
    await spool.close()


async def test_a_cluster_is_reached_through_kubectl(
    cluster: Cluster, ingress: JetStreamSpool
) -> None:
    queue_id = await put(ingress)
    code, out, err = await cluster.run(
        *("queue", "list", "--json", "--context", "production", "--namespace", "mail")
    )
    assert (code, err) == (0, "")
    assert json.loads(out)["queue_id"] == queue_id
    for call in cluster.calls():
        assert call[:4] == ["--context", "production", "--namespace", "mail"]
    assert cluster.calls()[-1][-2:] == ["service/mail-postroad-nats", ":4222"]
    with pytest.raises(ProcessLookupError):
        os.kill(cluster.pid, 0)


async def test_an_order_is_given_through_kubectl(cluster: Cluster, ingress: JetStreamSpool) -> None:
    delivery = as_role("delivery", cluster.server.url, trust=cluster.tls.trust)
    deferring = await connect(delivery)  # ingress cannot put where mail waits
    await put(deferring, place=Deferred(now() + timedelta(seconds=9)))
    await deferring.close()
    code, out, _ = await cluster.run("queue", "hold", "--all", "--release", "mail")
    assert (code, out) == (0, "hold: 0 of 1 records changed.\n")  # it comes due by itself
    code, out, _ = await cluster.run("status", "--json", "-n", "mail")
    assert code == 0
    told = json.loads(out)
    [order] = told["orders"]
    assert order["action"] == "hold"
    assert [process["role"] for process in told["processes"]] == ["ingress"]
    code, _, err = await cluster.run("queue", "cancel", order["order_id"], "--release", "mail")
    assert (code, err) == (0, "")


async def test_following_goes_on_when_the_forward_ends(
    cluster: Cluster, ingress: JetStreamSpool
) -> None:
    """kubectl forwards to one pod, and ends with it."""

    def happen(queue_id: str) -> None:
        ingress.events.add(Event(type=EventType.RECEPTION, at=now(), queue_id=queue_id))

    words = ("events", "--follow", "--json", "--release", "mail")
    async with children.started(*words, environment=cluster.environment()) as process:
        assert process.stdout is not None
        async with asyncio.timeout(patient(30)):
            happen("one")
            assert json.loads(await process.stdout.readline())["queue_id"] == "one"
            os.kill(cluster.pid, signal.SIGKILL)
            happen("two")
            assert json.loads(await process.stdout.readline())["queue_id"] == "two"
        last = cluster.pid
        process.send_signal(signal.SIGINT)
        await process.communicate()
    with pytest.raises(ProcessLookupError):
        os.kill(last, 0)


async def test_following_goes_on_when_kubectl_was_away_for_a_moment(
    cluster: Cluster, ingress: JetStreamSpool
) -> None:
    """As while it is upgraded: the command waited for ever, without a word."""
    words = ("events", "--follow", "--json", "--release", "mail")
    kubectl = cluster.folder / "bin" / "kubectl"
    async with children.started(*words, environment=cluster.environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.timeout(patient(30)):
            ingress.events.add(Event(type=EventType.RECEPTION, at=now(), queue_id="one"))
            assert json.loads(await process.stdout.readline())["queue_id"] == "one"
            away = kubectl.rename(kubectl.with_name("away"))
            os.kill(cluster.pid, signal.SIGKILL)
            while b"kubectl cannot forward again" not in (line := await process.stderr.readline()):
                assert line, "it ended"
            away.rename(kubectl)
            ingress.events.add(Event(type=EventType.RECEPTION, at=now(), queue_id="two"))
            assert json.loads(await process.stdout.readline())["queue_id"] == "two"
        process.send_signal(signal.SIGINT)
        await process.communicate()


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--context", "elsewhere"], 'context "elsewhere" does not exist'),
        (["--release", "none"], "there is no release none with NATS servers"),
    ],
)
async def test_what_is_not_there_is_said_in_one_line(
    cluster: Cluster, flags: list[str], sentence: str
) -> None:
    code, out, err = await cluster.run("status", *flags)
    assert (code, out) == (1, "")
    assert sentence in err
    assert err.startswith("postroad: ")
    assert "\n" not in err


async def test_of_several_releases_one_has_to_be_chosen(cluster: Cluster) -> None:
    cluster.services += [service("other", "other"), service("closed", "closed")]
    cluster.write()
    code, _, err = await cluster.run("status", "-n", "mail")
    assert code == 1
    assert "several releases in namespace mail: closed, mail, other; choose one" in err
    assert (await cluster.run("status", "--release", "mail"))[0] == 0
    code, _, err = await cluster.run("status", "--release", "other")
    assert "the Secret other-auth has no entry command" in err
    code, _, err = await cluster.run("status", "--release", "closed")
    assert 'kubectl may not do this: (Forbidden): secrets "closed-auth" is forbidden' in err


async def test_without_kubectl_the_sentence_says_what_to_do(cluster: Cluster) -> None:
    (cluster.folder / "bin" / "kubectl").unlink()
    code, _, err = await cluster.run("status", "--context", "production")
    assert code == 1
    assert err.startswith("postroad: kubectl is not installed; install it, or ")


async def test_the_password_of_another_release_is_said_to_be_wrong(cluster: Cluster) -> None:
    cluster.secrets["mail-postroad-nats-auth"] = {"command": base64.b64encode(b"old").decode()}
    cluster.write()
    code, _, err = await cluster.run("status", "--release", "mail")
    assert code == 1
    assert "uthorization" in err


# ---------------------------------------------------------------- in a pod


def in_a_pod(cluster: Cluster, **more: str) -> Mapping[str, str]:
    (cluster.folder / "command").write_text(password_of("command") + "\n")
    return {
        # By name, as pods do: the certificate is for that.
        "POSTROAD_NATS_URL": cluster.server.url.replace("127.0.0.1", "localhost"),
        "POSTROAD_NATS_CA_FILE": str(cluster.tls.authorities),
        "POSTROAD_NATS_USER": "command",
        "POSTROAD_NATS_PASSWORD_FILE": str(cluster.folder / "command"),
        "POSTROAD_NATS_API_PREFIX": API_PREFIX,
        "POSTROAD_NATS_PATIENCE": "24h",
    } | more


async def test_in_the_toolbox_the_command_is_who_the_pod_is(
    cluster: Cluster, ingress: JetStreamSpool
) -> None:
    queue_id = await put(ingress)
    code, out, err = await cluster.run("queue", "list", "--json", **in_a_pod(cluster))
    assert (code, err) == (0, "")
    assert json.loads(out)["queue_id"] == queue_id


async def test_a_password_that_cannot_be_read_is_a_mistake(cluster: Cluster) -> None:
    environ = in_a_pod(cluster, POSTROAD_NATS_PASSWORD_FILE="/nowhere")
    code, _, err = await cluster.run("status", **environ)
    assert code == 2
    assert "POSTROAD_NATS_PASSWORD: the file /nowhere cannot be read" in err
