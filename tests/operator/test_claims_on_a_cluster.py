"""Whose Domain takes the mail of all namespaces, by the operator as a process."""

import asyncio
import signal

import pytest

from postroad.manifests.objects import Kind
from postroad.operator.kubernetes.client import Kube, kind_path
from postroad.testing.peers.dns_server import Zone, ZoneFault
from postroad_harness.cluster.operators import (
    Cluster,
    Object,
    in_force,
    until_found,
)

pytestmark = [pytest.mark.nats, pytest.mark.timeout(120)]


async def test_others_mail_comes_by_a_grant_or_by_the_dns_and_stays_while_that_is_away(
    cluster: Cluster,
) -> None:
    # Over 5 s: three operators, one after the other, each of which asks the DNS anew.
    mail = f"{cluster.namespace}-mail"
    await cluster.kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": mail}})
    others = f"{cluster.namespace},{cluster.namespace}-app"  # more than one: none is trusted
    async with Zone({}) as zone:
        more = {
            "POSTROAD_LEASE_NAMESPACE": mail,
            "POSTROAD_WATCH_NAMESPACES": others,
            "POSTROAD_HOSTNAME": "Relay.example",
            "POSTROAD_DNS_CHECKS": "true",
            "POSTROAD_RESOLVER": "{}:{}".format(*zone.address),
        }
        operator = await cluster.start_operator("one", **more)
        configuration = await cluster.follow()

        async def start_again(before: asyncio.subprocess.Process) -> asyncio.subprocess.Process:
            before.send_signal(signal.SIGKILL)
            await before.wait()
            return await cluster.start_operator("one", **more)

        async def claimed(status: str, reason: str) -> None:
            while True:
                found = await cluster.condition(Kind.DOMAIN, "shop", "DomainClaimed", status)
                if found["reason"] == reason:
                    break
            proven = status == "True"
            await in_force(
                configuration,
                lambda now: (now.domain_for("shop.example", "app") is not None) is proven,
            )
            assert await cluster.condition(Kind.DOMAIN, "shop", "Ready", "True")

        await cluster.apply(Kind.DOMAIN, "shop", {"domain": "shop.example", "send": {}})
        await claimed("False", "NotProven")

        grants = kind_path(Kind.DOMAIN_GRANT, mail)
        await cluster.kube.request("POST", grants, body=_grant_for(cluster.namespace))
        await claimed("True", "Granted")
        grant = await until_found(lambda: _with_status(cluster.kube, f"{grants}/g"))
        assert grant["conditions"][0]["status"] == "True"
        await cluster.kube.request("DELETE", f"{grants}/g")
        await claimed("False", "NotProven")

        zone.table["_postroad.shop.example"] = [
            f'TXT "relay=relay.example; namespace={cluster.namespace}"'
        ]
        operator = await start_again(operator)
        await claimed("True", "TXTRecord")

        zone.table["_postroad.shop.example"] = ZoneFault.SERVFAIL
        await start_again(operator)
        await claimed("True", "NotConfirmed")


def _grant_for(namespace: str) -> Object:
    return {
        "apiVersion": "postroad.dev/v1alpha1",
        "kind": "DomainGrant",
        "metadata": {"name": "g"},
        "spec": {"domains": ["*.example"], "namespaces": [namespace]},
    }


async def _with_status(kube: Kube, path: str) -> Object | None:
    status = (await kube.request("GET", path)).get("status")
    return dict(status) if status else None
