"""
The Kubernetes API calls that kopf does not make: lists, statuses, the Lease, Events.

kopf only watches. The operator's writes and lists go through one aiohttp session in this module. So
no write starts a handling cycle of kopf, and thousands of statuses share a few connections. The
watch and this client use the same function to log in. Credentials are read again every minute,
because service account tokens rotate.
"""

import asyncio
import base64
import json
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

from postroad.manifests.objects import GROUP, VERSION, Kind
from postroad.policy.model import ObjectKey

MANAGER = "postroad-operator"
PLURALS: Mapping[Kind, str] = {
    Kind.DOMAIN: "domains",
    Kind.RELAY: "relays",
    Kind.QUOTA: "quotas",
    Kind.CLIENT: "clients",
    Kind.DOMAIN_GRANT: "domaingrants",
}
_PAGE = 500
_CONNECTIONS = 24
_TIMEOUT = timedelta(seconds=30)
_LOGIN_HOLDS = timedelta(minutes=1)
_METADATA_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

Object = dict[str, Any]


class KubeError(Exception):
    """The API server does not answer, or refuses temporarily; try again later."""

    status = 0


class ApiRefused(KubeError):
    """The API server refuses the request; `status` says why: 403, 404, 409, 410, 422."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class ApiAccess:
    """The API server's address, and this process's credentials."""

    server: str
    token: str | None = field(default=None, repr=False)
    ca_path: str | None = None
    ca_data: str | None = None  # base64 of PEM, as in a kubeconfig
    certificate_path: str | None = None
    certificate_data: str | None = None
    private_key_path: str | None = None
    private_key_data: str | None = field(default=None, repr=False)
    insecure: bool = False


class Kube:
    """One session with the API server; `log_in` returns the credentials as they are now."""

    def __init__(self, log_in: Callable[[], ApiAccess]) -> None:
        self._log_in = log_in
        self._session: aiohttp.ClientSession | None = None
        self._access: ApiAccess | None = None
        self._login_ends = 0.0

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def list(self, path: str, *, metadata_only: bool = False) -> AsyncIterator[Object]:
        """
        Yield every object under a path, page by page.

        Raises ApiRefused (410) if it took so long that the next page is no longer available.
        """
        following = ""
        while True:
            query = {"limit": str(_PAGE), **({"continue": following} if following else {})}
            headers = {"Accept": _METADATA_ONLY} if metadata_only else {}
            page = await self.request("GET", path, query=query, headers=headers)
            for item in page.get("items") or ():
                yield item
            following = (page.get("metadata") or {}).get("continue") or ""
            if not following:
                return

    async def patch_status(self, kind: Kind, key: ObjectKey, uid: str, status: Object) -> Object:
        """Write fields of an object's status; ApiRefused (409) if another object has its name."""
        body = {"metadata": {"uid": uid}, "status": status}
        return await self.request(
            "PATCH",
            f"{object_path(kind, key)}/status",
            query={"fieldManager": MANAGER},
            body=body,
            headers={"Content-Type": "application/merge-patch+json"},
        )

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: timedelta = _TIMEOUT,
    ) -> Object:
        """
        Make one request and return the answer.

        Raises ApiRefused if the request itself is wrong (4xx), KubeError for temporary failures.
        """
        for tries_left in (1, 0):
            session, access = await self._connected()
            sent = {"Content-Type": "application/json", **(headers or {})}
            if access.token:
                sent["Authorization"] = f"Bearer {access.token}"
            try:
                async with session.request(
                    method,
                    access.server.rstrip("/") + path,
                    params=query,
                    data=None if body is None else json.dumps(body),
                    headers=sent,
                    timeout=aiohttp.ClientTimeout(total=timeout.total_seconds()),
                ) as answer:
                    if answer.status == 401 and tries_left:
                        self._login_ends = 0.0  # the token was replaced
                        continue
                    return await _read(answer, method, path)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                reason = str(error) or type(error).__name__
                raise KubeError(f"the API server does not answer: {reason}") from error
        raise AssertionError("the second answer is always read")

    async def _connected(self) -> tuple[aiohttp.ClientSession, ApiAccess]:
        now = asyncio.get_running_loop().time()
        if self._access is None or now >= self._login_ends:
            try:
                access = self._log_in()
            except (OSError, ValueError) as error:
                raise KubeError(f"the credentials cannot be read: {error}") from error
            self._login_ends = now + _LOGIN_HOLDS.total_seconds()
            if self._session is None or _same_transport(access, self._access) is False:
                await self.close()
                connector = aiohttp.TCPConnector(limit=_CONNECTIONS, ssl=_tls(access))
                self._session = aiohttp.ClientSession(connector=connector)
            self._access = access
        assert self._session is not None
        return self._session, self._access


async def _read(answer: aiohttp.ClientResponse, method: str, path: str) -> Object:
    text = await answer.text()
    if answer.status < 300:
        content = json.loads(text)
        return content if isinstance(content, dict) else {}
    try:
        said = str(json.loads(text).get("message"))
    except (ValueError, AttributeError):
        said = text[:200]
    sentence = f"{method} {path}: {answer.status} {said}"
    if answer.status in (400, 403, 404, 405, 409, 410, 422):
        raise ApiRefused(answer.status, sentence)
    raise KubeError(sentence)


def _same_transport(one: ApiAccess, other: ApiAccess | None) -> bool:
    """Whether the same connections can be used: a new token alone needs no new ones."""
    names = ("server", "ca_path", "ca_data", "certificate_path", "certificate_data", "insecure")
    return other is not None and all(getattr(one, n) == getattr(other, n) for n in names)


def _tls(access: ApiAccess) -> ssl.SSLContext | bool:
    if not access.server.startswith("https"):
        return True
    authority = base64.b64decode(access.ca_data).decode() if access.ca_data else None
    context = ssl.create_default_context(cafile=access.ca_path, cadata=authority)
    if access.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if access.certificate_path:
        context.load_cert_chain(access.certificate_path, access.private_key_path)
    elif access.certificate_data and access.private_key_data:
        # The ssl module reads a client's certificate and key from files only.
        with tempfile.TemporaryDirectory() as folder:
            pair = Path(folder, "client.pem")
            pair.touch(mode=0o600)
            both = (access.certificate_data, access.private_key_data)
            pair.write_bytes(b"\n".join(base64.b64decode(each) for each in both))
            context.load_cert_chain(pair)
    return context


def object_path(kind: Kind, key: ObjectKey) -> str:
    """Return the API path of a Domain, Relay, Client or Quota."""
    return f"{kind_path(kind, key.namespace)}/{quote(key.name)}"


def kind_path(kind: Kind, namespace: str | None) -> str:
    """Return the API path of all objects of a kind, in one namespace or in all."""
    where = f"/namespaces/{quote(namespace)}" if namespace else ""
    return f"/apis/{GROUP}/{VERSION}{where}/{PLURALS[kind]}"


def secret_path(key: ObjectKey) -> str:
    """Return the API path of a Secret."""
    return f"/api/v1/namespaces/{quote(key.namespace)}/secrets/{quote(key.name)}"


NAMESPACES_PATH = "/api/v1/namespaces"
