"""The queue's servers: a real nats-server reads their configuration."""

import json
import os
import re
import runpy
import subprocess
import sys
from base64 import b64decode
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from postroad.cli.standalone.nats.config import ServerAddress, server_config
from postroad.spool.wire.payload import MAX_PAYLOAD
from postroad.testing.queue.accounts import API_PREFIX, bounded, expanded
from postroad_harness.cluster.chart import CHART, Object, environment, named

ROOT = CHART.parents[1]
SERVER = Path(sys.executable).with_name("nats-server")
START = runpy.run_path(str(ROOT / "services" / "nats" / "start.py"))


def configured(objects: list[Object], folder: Path) -> Path:
    """Write the servers' configuration as their entry point does in a pod; return its file."""
    configuration, secrets, written = (folder / name for name in ("etc", "secrets", "run"))
    configuration.mkdir()
    secrets.mkdir()
    for name, text in named(objects, "ConfigMap", "nats")["data"].items():
        (configuration / name).write_text(text)
    volumes = named(objects, "StatefulSet", "nats")["spec"]["template"]["spec"]["volumes"]
    (volume,) = (each for each in volumes if each["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        ours = source["secret"]["name"].endswith("-nats-auth")
        for item in source["secret"]["items"]:
            told = passwords(objects)[item["key"]] if ours else "theirs"
            (secrets / item["path"]).write_text(told)
    START["configure"](configuration, secrets, written)
    return written / "nats-server.conf"


def passwords(objects: list[Object]) -> dict[str, str]:
    """Return the passwords of the chart's Secret, by user."""
    data = named(objects, "Secret", "nats-auth")["data"]
    return {user: b64decode(text).decode() for user, text in data.items()}


@pytest.mark.nats
@pytest.mark.parametrize("case", ["default", "single", "named", "clear", "encrypted"])
def test_nats_server_takes_its_configuration(
    rendered: Mapping[str, list[Object]], case: str, tmp_path: Path
) -> None:
    objects = rendered[case]
    config = configured(objects, tmp_path)
    if case != "clear":
        for name, text in named(objects, "Secret", "nats-tls")["data"].items():
            (tmp_path / name).write_bytes(b64decode(text))
    said = config.read_text().replace("/data", str(tmp_path / "data"))
    config.write_text(said.replace("/etc/nats-tls", str(tmp_path)))
    done = subprocess.run(
        [SERVER, "-t", "-c", config],
        capture_output=True,
        text=True,
        env={**os.environ, "POD_NAME": "post-postroad-nats-0"},
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("case", "shards"), [("default", 3), ("sharded", 5)])
def test_each_shard_is_imported_as_in_the_tests_of_the_accounts(
    rendered: Mapping[str, list[Object]], case: str, shards: int
) -> None:
    told = named(rendered[case], "ConfigMap", "nats")["data"]["nats-accounts.conf"]
    ours = expanded(CHART / "files" / "nats-accounts.conf", shards=shards)
    octets = re.search(r"max_file: (\d+)", told)
    assert octets is not None
    assert _lines(told) == _lines(bounded(ours, octets=int(octets[1])))
    assert f'"pr.q.{shards - 1}.>"' in told


def test_the_chart_makes_a_certificate_that_its_authority_vouches_for(
    rendered: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    data = named(rendered["default"], "Secret", "nats-tls")["data"]
    leaf, authority = [
        x509.load_pem_x509_certificate(b64decode(data[name])) for name in ("tls.crt", "ca.crt")
    ]
    leaf.verify_directly_issued_by(authority)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [
        "*.post-postroad-nats-headless.mail.svc",
        "localhost",
    ]
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usages) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    lasts = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert lasts > timedelta(days=700)
    key = named(rendered["default"], "Secret", "nats-ca")
    mounted = [
        volume.get("secret", {}).get("secretName")
        for each in rendered["default"]
        if each["kind"] in ("Deployment", "StatefulSet")
        for volume in each["spec"]["template"]["spec"]["volumes"]
    ]
    assert key["metadata"]["name"] not in mounted, "no pod needs to sign anything"


def test_only_servers_have_their_key(rendered: Mapping[str, list[Object]]) -> None:
    for kind in ("ingress", "delivery", "operator"):
        spec = named(rendered["default"], "Deployment", kind)["spec"]["template"]["spec"]
        (volume,) = [each for each in spec["volumes"] if each["name"] == "nats-ca"]
        assert [item["key"] for item in volume["secret"]["items"]] == ["ca.crt"]
        (container,) = spec["containers"]
        said = {each["name"]: each.get("value") for each in container["env"]}
        (mount,) = [each for each in container["volumeMounts"] if each["name"] == "nats-ca"]
        assert said["POSTROAD_NATS_CA_FILE"] == f"{mount['mountPath']}/ca.crt"


def test_connections_are_in_clear_only_where_that_is_asked(
    rendered: Mapping[str, list[Object]],
) -> None:
    config = named(rendered["default"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert config.count("tls {") == 2  # for clients and for the other servers
    assert "handshake_first: true" in config
    assert "verify: true" in config
    assert "tls {" not in named(rendered["clear"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert "CA_FILE" not in json.dumps(rendered["clear"])
    for case in ("external", "clear"):
        assert not [each for each in rendered[case] if each["metadata"]["name"].endswith("-tls")]


def test_certificates_may_come_from_elsewhere(rendered: Mapping[str, list[Object]]) -> None:
    (certificate,) = [
        each for each in rendered["nats-cert-manager"] if each["kind"] == "Certificate"
    ]
    assert certificate["spec"]["usages"] == ["server auth", "client auth"]
    assert certificate["spec"]["secretName"] == "post-postroad-nats-tls"
    spec = named(rendered["nats-tls"], "StatefulSet", "nats")["spec"]["template"]["spec"]
    (volume,) = [each for each in spec["volumes"] if each["name"] == "tls"]
    assert volume["secret"]["secretName"] == "theirs"
    for case in ("nats-cert-manager", "nats-tls"):
        secrets = {each["metadata"]["name"] for each in rendered[case] if each["kind"] == "Secret"}
        assert not any(name.endswith(("-nats-ca", "-nats-tls")) for name in secrets)


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.splitlines() if line.strip()]


def test_a_process_reaches_jetstream_by_the_prefix_of_the_accounts(
    rendered: Mapping[str, list[Object]],
) -> None:
    for kind in ("ingress", "delivery", "operator"):
        template = named(rendered["default"], "Deployment", kind)["spec"]["template"]
        (container,) = template["spec"]["containers"]
        assert {"name": "POSTROAD_NATS_API_PREFIX", "value": API_PREFIX} in container["env"]
    service = named(rendered["default"], "Service", "nats")
    assert service["metadata"]["annotations"]["postroad.dev/api-prefix"] == API_PREFIX


def test_a_single_server_looks_for_no_others(
    rendered: Mapping[str, list[Object]], tmp_path: Path
) -> None:
    config = named(rendered["single"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert "cluster {" not in config
    told = configured(rendered["default"], tmp_path).read_text()
    routes = re.findall(r"nats-route://[^\"]*", told)
    assert len(routes) == 3
    assert routes[0] == (
        f"nats-route://cluster:{passwords(rendered['default'])['cluster']}@post-postroad-nats-0"
        ".post-postroad-nats-headless.mail.svc:6222"
    )


def test_passwords_are_taken_for_no_number(rendered: Mapping[str, list[Object]]) -> None:
    found = passwords(rendered["default"]).values()
    assert len(set(found)) == 5
    assert all(re.fullmatch(r"[a-z][A-Za-z0-9]{31}", each) for each in found)
    keys = named(rendered["default"], "Secret", "cluster-key")["data"].values()
    assert [len(b64decode(b64decode(key))) for key in keys] == [32, 32]
    assert len(set(keys)) == 2


def test_the_servers_are_as_the_embedded_one(rendered: Mapping[str, list[Object]]) -> None:
    config = named(rendered["default"], "ConfigMap", "nats")["data"]["nats-server.conf"]
    assert f"max_payload: {MAX_PAYLOAD}\n" in config
    assert "sync_interval: always" in config
    paths = {"logfile": Path("nats.log"), "store": Path("nats")}
    embedded = server_config(ServerAddress(1, 2), token="any", capacity=0, **paths)
    assert "sync_interval: always" in embedded


def test_volumes_outlive_the_release_and_servers_start_together(
    rendered: Mapping[str, list[Object]],
) -> None:
    spec = named(rendered["default"], "StatefulSet", "nats")["spec"]
    assert set(spec["persistentVolumeClaimRetentionPolicy"].values()) == {"Retain"}
    assert spec["podManagementPolicy"] == "Parallel"
    assert (
        environment(rendered["default"], "StatefulSet", "nats")["GOMEMLIMIT"] == "838860KiB"
    )  # 80 % of 1Gi


def test_a_changed_configuration_restarts_the_servers(
    rendered: Mapping[str, list[Object]],
) -> None:
    def checksum(case: str) -> str:
        template = named(rendered[case], "StatefulSet", "nats")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum("default") == checksum("pools")
    assert checksum("default") != checksum("single")
