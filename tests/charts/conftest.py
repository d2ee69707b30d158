"""The chart as users install it, rendered once for each of several sets of values."""

from collections.abc import Mapping

import pytest

from postroad_harness.cluster.chart import Helm, Object, helms
from postroad_harness.left_out import leave_out

# By what sets them apart from the defaults.
CASES: Mapping[str, Mapping[str, object]] = {
    "default": {},
    "named": {"hostname": "relay.example.com", "logLevel": "debug", "listenAddress": "[::]"},
    "single": {"nats.replicas": 1, "nats.storage.size": "1Gi"},
    "clear": {"nats.tls.enabled": False},
    "nats-tls": {"nats.tls.existingSecret": "theirs"},
    "nats-cert-manager": {
        "nats.tls.certManager.enabled": True,
        "nats.tls.certManager.issuerRef.name": "own",
    },
    "encrypted": {"nats.encryption.existingSecret": "disk"},
    "sharded": {"queue.shards": 5},
    "external": {
        "nats.enabled": False,
        "nats.external.url": "nats://a:4222\\,nats://b:4222",
        "nats.external.authSecret": "theirs",
        "nats.external.capacity": "100Gi",
    },
    "external-walled": {
        "nats.enabled": False,
        "nats.external.url": "nats://a:4222\\,nats://b:14222/\\,nats://c",
        "nats.external.authSecret": "theirs",
        "egress.clusterNetworks[0]": "10.42.0.0/15",
    },
    "external-named": {
        "nats.enabled": False,
        "nats.external.url": "nats://a",
        "nats.external.authSecret": "theirs",
        "nats.external.egress[0].to[0].ipBlock.cidr": "10.42.7.0/24",
        "egress.clusterNetworks[0]": "10.42.0.0/15",
    },
    "balancer": {
        "ingress.service.type": "LoadBalancer",
        "ingress.service.loadBalancerIP": "192.0.2.1",
        "ingress.service.loadBalancerSourceRanges[0]": "192.0.2.0/24",
        "ingress.service.annotations.a": "b",
        "ingress.service.submissionPort": 0,
    },
    "proxy": {
        "ingress.proxyProtocol.enabled": True,
        "ingress.proxyProtocol.trustedNetworks[0]": "192.0.2.0/24",
        "ingress.proxyProtocol.trustedNetworks[1]": "2001:db8::/32",
    },
    "secret-tls": {"ingress.tls.existingSecret": "relay-tls"},
    "cert-manager": {
        "hostname": "relay.example.com",
        "ingress.tls.certManager.enabled": True,
        "ingress.tls.certManager.issuerRef.name": "letters",
    },
    "pools": {
        "hostname": "relay.example.com",
        "delivery.replicas": 5,
        "delivery.pools[0].name": "bulk",
        "delivery.pools[0].replicas": 0,
        "delivery.pools[0].nodeSelector.egress": "bulk",
        "delivery.pools[1].name": "eu",
        "delivery.pools[1].hostname": "eu.example.com",
        "delivery.pools[1].autoscaling.enabled": True,
    },
    "keda": {"ingress.autoscaling.enabled": True, "delivery.autoscaling.enabled": True},
    "cpu": {"delivery.autoscaling.enabled": True, "delivery.autoscaling.type": "cpu"},
    "monitored": {
        "metrics.podMonitor.enabled": True,
        "metrics.prometheusRule.enabled": True,
        "metrics.dashboard.enabled": True,
    },
    "walled": {
        "egress.clusterNetworks[0]": "10.42.0.0/15",
        "egress.clusterNetworks[1]": "fd42::/48",
        "egress.allowed[0]": "10.43.7.7/32",
        "networkPolicy.deliveryEgress[0].ports[0].port": 4318,
    },
    "everywhere": {"operator.clusterWide": True, "toolbox.enabled": False},
    "bare": {"networkPolicy.enabled": False, "podDisruptionBudget.enabled": False},
    "theirs": {
        "nats.auth.existingSecret": "passwords",
        "nats.tls.existingSecret": "certificates",
        "clusterKey.existingSecret": "key",
        "operator.watchNamespaces[0]": "shop",
        "delivery.caBundle.configMapName": "authorities",
        "operator.dnsChecks": False,
        "operator.resolver": "192.0.2.53:53",
        "image.registry": "registry.example.com:5000",
        "image.pullSecrets[0]": "pull",
        "ingress.extraEnv[0].name": "POSTROAD_LIMIT_IDLE",
        "ingress.extraEnv[0].value": "2m",
    },
}


@pytest.fixture(scope="session")
def helm() -> Helm:
    """The first helm there is."""
    found = helms()
    if not found:
        leave_out("there is no helm on PATH, and the lab cluster's tool has built none")
    return found[0]


@pytest.fixture(scope="session")
def rendered(helm: Helm) -> Mapping[str, list[Object]]:
    """The objects of every case."""
    return {name: helm.render(values) for name, values in CASES.items()}


@pytest.fixture(params=CASES)
def objects(rendered: Mapping[str, list[Object]], request: pytest.FixtureRequest) -> list[Object]:
    """The objects of one case, each in turn."""
    return rendered[request.param]
