"""The cluster keys of a state folder: one for each role, also where there was one for all."""

from pathlib import Path

import pytest

from postroad.cli.errors import CommandError
from postroad.cli.standalone.manifests import FollowedManifests
from postroad.cli.state.folder import StateFolder
from postroad.cli.state.keys import load_keyrings
from postroad.manifests.compiler.check import check
from postroad.policy.secrets.keyfile import load_or_create_key
from postroad.policy.secrets.seal import Keyrings, Reader
from postroad.policy.snapshot import Snapshot, SnapshotLoader
from postroad.queue.configuration import publish_objects
from postroad.spool.memory.spool import MemorySpool

MANIFESTS = """
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {username: app, password: correct horse battery}
---
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {name: smarthost}
spec:
  smarthosts: [{host: smtp.example, port: 587}]
  tls: {mode: Verified}
  auth: {secretRef: {name: login}}
---
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: app}
spec: {auth: {secretRef: {name: login}}, senders: ["*"], relayRef: {name: smarthost}}
"""


async def read_as(reader: Reader, keys: Keyrings, spool: MemorySpool) -> Snapshot:
    """Read what is published as a process of a role does."""
    state = await spool.config.last()
    assert state is not None
    loaded = SnapshotLoader({reader: keys[reader]}).load(state.generation, state.entries)
    assert not loaded.unreadable
    return loaded.snapshot


async def test_each_role_opens_what_is_for_it_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "manifests.yaml").write_text(MANIFESTS)
    keys, spool = load_keyrings(StateFolder(tmp_path)), MemorySpool()
    await FollowedManifests([tmp_path / "manifests.yaml"], spool, keys).publish_first()

    ingress = await read_as(Reader.INGRESS, keys, spool)
    (client,), (relay,) = ingress.clients.values(), ingress.relays.values()
    assert client.verifier is not None
    assert relay.egress_path.credentials is None
    assert relay.egress_path.smarthosts[0].host == "smtp.example"

    delivery = await read_as(Reader.DELIVERY, keys, spool)
    (client,), (relay,) = delivery.clients.values(), delivery.relays.values()
    assert client.verifier is None
    assert client.username == "app"
    assert relay.egress_path.credentials is not None
    assert relay.egress_path.credentials.password == "correct horse battery"


async def test_the_one_key_of_before_is_taken_over_with_its_verifiers(tmp_path: Path) -> None:
    """Verifiers that are made anew would take minutes, with thousands of Clients."""
    manifests = tmp_path / "manifests.yaml"
    manifests.write_text(MANIFESTS)
    spool, one = MemorySpool(), load_or_create_key(tmp_path / "cluster.key")
    before = dict.fromkeys(Reader, one)
    _, compiled = check([manifests], keyrings=before)
    await publish_objects(spool, compiled.entries, before)
    was = await read_as(Reader.INGRESS, before, spool)

    keys = load_keyrings(StateFolder(tmp_path))
    assert {path.name for path in tmp_path.glob("*.key")} == {"ingress.key", "delivery.key"}
    await FollowedManifests([manifests], spool, keys).publish_first()
    assert (await read_as(Reader.INGRESS, keys, spool)).clients == was.clients
    delivery = await read_as(Reader.DELIVERY, keys, spool)
    assert all(relay.egress_path.credentials for relay in delivery.relays.values())
    # The key that ingress had, and may have told somebody, opens no login any more.
    with pytest.raises(AssertionError):
        await read_as(Reader.DELIVERY, before, spool)

    assert load_keyrings(StateFolder(tmp_path)).keys() == keys.keys()  # at the next start
    assert (tmp_path / "ingress.key").stat().st_mode & 0o777 == 0o600


def test_a_key_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "delivery.key").write_text("no key")
    with pytest.raises(CommandError, match=r"delivery\.key holds no cluster key"):
        load_keyrings(StateFolder(tmp_path))
