"""kube-apiserver over etcd, with the definitions; needs no cluster."""

import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from postroad.manifests.generate.crd import custom_resource_definition
from postroad.manifests.generate.crd_status import NAMES
from postroad.manifests.objects import Kind
from postroad.testing.children import dies_with_us
from postroad.testing.patience import patient

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
PATIENCE = 45.0


def binary(name: str) -> str | None:
    folders = (os.environ.get("KUBEBUILDER_ASSETS"), os.environ.get("PATH"))
    kubelab = str(Path.home() / ".cache" / "kubelab" / "bin")
    return shutil.which(name, path=os.pathsep.join([*filter(None, folders), kubelab]))


ETCD, API_SERVER = binary("etcd"), binary("kube-apiserver")
LACKING = "needs kube-apiserver and etcd in KUBEBUILDER_ASSETS, on PATH or built by kubelab"


@dataclass(frozen=True)
class ApiServer:
    """A client of the API server; answers are a status and a body."""

    url: str
    trusted: ssl.SSLContext

    def call(self, method: str, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        patch = method == "PATCH"
        sent = {
            "Authorization": "Bearer test",
            "Content-Type": f"application/{'merge-patch+' if patch else ''}json",
            **headers,
        }
        data = None if body is None else json.dumps(body).encode()
        address = self.url + path
        request = urllib.request.Request(address, data, sent, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(  # noqa: S310 - the server of the tests
                request, context=self.trusted, timeout=patient(10)
            ) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def create(self, kind: str, spec: Any, name: str = "x", *, dry: bool = False) -> Any:
        body = {
            "apiVersion": "postroad.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        options = "fieldValidation=Strict" + ("&dryRun=All" if dry else "")
        return self.call("POST", f"{objects(kind)}?{options}", body)


def objects(kind: str) -> str:
    return f"/apis/postroad.dev/v1alpha1/namespaces/default/{NAMES[Kind(kind)].plural}"


def start(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    with (folder / f"{Path(command[0]).name}.log").open("wb") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=folder, preexec_fn=dies_with_us()
        )


def start_etcd(folder: Path, client: int, peer: int) -> subprocess.Popen[bytes]:
    return start(
        folder,
        str(ETCD),
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls=http://127.0.0.1:{client}",
        f"--advertise-client-urls=http://127.0.0.1:{client}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    )


def start_api_server(folder: Path, etcd: int, port: int) -> subprocess.Popen[bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "sa.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / "tokens").write_text("test,admin,admin,system:masters\n")
    return start(
        folder,
        str(API_SERVER),
        f"--etcd-servers=http://127.0.0.1:{etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'tls'}",
        f"--token-auth-file={folder / 'tokens'}",
        "--authorization-mode=AlwaysAllow",
        "--service-account-issuer=https://test.invalid",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.97.0.0/16",
        "--profiling=false",
    )


def until_ready(folder: Path, port: int, processes: list[subprocess.Popen[bytes]]) -> ApiServer:
    found = None
    for _ in attempts(processes):
        try:
            trusted = ssl.create_default_context(cafile=str(folder / "tls" / "apiserver.crt"))
            found = ApiServer(f"https://127.0.0.1:{port}", trusted)
            # Its RBAC roles and namespaces come last, and writes wait for them.
            if found.call("GET", "/api/v1/namespaces/default")[0] == 200:
                break
        except (OSError, ValueError):
            continue
    assert found
    for kind in NAMES:
        status, body = found.call("POST", DEFINITIONS, custom_resource_definition(kind))
        assert status == 201, body["message"]
    for _ in attempts(processes):
        if all(found.call("GET", objects(kind))[0] == 200 for kind in NAMES):
            return found
    raise AssertionError("the definitions are not established")


def attempts(processes: list[subprocess.Popen[bytes]]) -> Iterator[float]:
    end = time.monotonic() + patient(PATIENCE)
    while time.monotonic() < end:
        yield end
        for process in processes:
            assert process.poll() is None, f"{process.args!r} ended; see its log"
        time.sleep(0.1)  # neither tells anybody when it is ready
    raise AssertionError("the API server does not get ready")
