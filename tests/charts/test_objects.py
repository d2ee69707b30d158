"""Objects that refer to each other agree: selectors, ports, policies, budgets, metrics."""

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

import pytest

from postroad.process.settings import load
from postroad.queue.egress import EgressSettings
from postroad_harness.cluster.chart import CHART, Object, named

IDENTITY = {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"}
WORKLOADS = {"Deployment", "StatefulSet"}


def labels(workload: Object) -> dict[str, str]:
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def selected(objects: list[Object], selector: Mapping[str, str]) -> list[Object]:
    return [o for o in objects if o["kind"] in WORKLOADS and selector.items() <= labels(o).items()]


def test_selectors_hold_nothing_that_changes(objects: list[Object]) -> None:
    for each in objects:
        if each["kind"] in WORKLOADS:
            selector = each["spec"]["selector"]["matchLabels"]
            assert set(selector) - {"postroad.dev/pool"} == IDENTITY
            assert selected(objects, selector) == [each]


def test_services_find_ports_of_pods(objects: list[Object]) -> None:
    services = [each for each in objects if each["kind"] == "Service"]
    assert len(services) >= 2
    for service in services:
        (workload,) = selected(objects, service["spec"]["selector"])
        (container,) = workload["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_a_budget_is_for_one_workload(objects: list[Object]) -> None:
    for each in objects:
        if each["kind"] == "PodDisruptionBudget":
            assert len(selected(objects, each["spec"]["selector"]["matchLabels"])) == 1
            assert each["spec"]["maxUnavailable"] == 1
            # Of three servers one that is not ready may be what makes a majority; a single one, or
            # any other pod, must never keep a node from being drained.
            (workload,) = selected(objects, each["spec"]["selector"]["matchLabels"])
            majority = workload["kind"] == "StatefulSet" and workload["spec"]["replicas"] > 1
            policy = each["spec"]["unhealthyPodEvictionPolicy"]
            assert policy == ("IfHealthyBudget" if majority else "AlwaysAllow")


def test_every_component_has_its_budget_and_its_policy(
    rendered: Mapping[str, list[Object]],
) -> None:
    def names(case: str, kind: str) -> set[str]:
        return {o["metadata"]["name"] for o in rendered[case] if o["kind"] == kind}

    everyone = {f"post-postroad-{name}" for name in ("ingress", "delivery", "operator", "nats")}
    assert names("default", "PodDisruptionBudget") == everyone
    assert names("default", "NetworkPolicy") == everyone | {"post-postroad-toolbox"}
    assert "post-postroad-delivery-bulk" in names("pools", "PodDisruptionBudget")
    assert names("bare", "PodDisruptionBudget") == names("bare", "NetworkPolicy") == set()
    assert names("external", "StatefulSet") == set()
    assert "post-postroad-nats" not in names("external", "NetworkPolicy")


@pytest.mark.parametrize(
    ("case", "name", "policy"),
    [
        ("default", "ingress", None),  # ClusterIP has no such field
        ("balancer", "ingress", "Local"),
        ("proxy", "ingress-proxy", "Cluster"),
    ],
)
def test_clients_keep_their_addresses(
    rendered: Mapping[str, list[Object]], case: str, name: str, policy: str | None
) -> None:
    spec = named(rendered[case], "Service", name)["spec"]
    assert spec.get("externalTrafficPolicy") == policy


def test_further_authorities_are_a_file_that_delivery_reads(
    rendered: Mapping[str, list[Object]],
) -> None:
    delivery = named(rendered["theirs"], "Deployment", "delivery")
    pod = delivery["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (file,) = [e["value"] for e in container["env"] if e["name"] == "POSTROAD_TLS_CA_FILE"]
    (mount,) = [m for m in container["volumeMounts"] if file.startswith(m["mountPath"] + "/")]
    (volume,) = [v for v in pod["volumes"] if v["name"] == mount["name"]]
    (item,) = volume["configMap"]["items"]
    assert volume["configMap"]["name"] == "authorities"
    assert (item["key"], mount["mountPath"] + "/" + item["path"]) == ("ca.crt", file)


def test_a_proxy_header_is_read_on_ports_of_its_own(rendered: Mapping[str, list[Object]]) -> None:
    plain, proxied = (
        {p["targetPort"] for p in named(rendered["proxy"], "Service", name)["spec"]["ports"]}
        for name in ("ingress", "ingress-proxy")
    )
    assert plain == {"relay", "submission", "submissions"}
    assert proxied == {"relay-proxy", "submit-proxy", "submits-proxy"}
    policy = named(rendered["default"], "NetworkPolicy", "ingress")
    opened = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
    assert opened == {2525, 2587, 2465, 8080}


def test_only_pods_of_the_release_reach_the_queue(rendered: Mapping[str, list[Object]]) -> None:
    rules = named(rendered["default"], "NetworkPolicy", "nats")["spec"]["ingress"]
    allowed = {
        (port["port"], peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"])
        for rule in rules
        for port in rule["ports"]
        for peer in rule["from"]
    }
    assert allowed == {
        *((4222, "ingress"), (4222, "delivery"), (4222, "operator"), (4222, "toolbox")),
        (6222, "nats"),
    }


def test_nobody_else_reads_the_pages_until_somebody_is_named(
    rendered: Mapping[str, list[Object]],
) -> None:
    for name in ("ingress", "delivery", "operator"):
        rules = named(rendered["default"], "NetworkPolicy", name)["spec"]["ingress"]
        (pages,) = [r for r in rules if {"port": 8080, "protocol": "TCP"} in r["ports"]]
        of_the_release = {"matchLabels": {"app.kubernetes.io/instance": "post"}}
        assert pages["from"] == [{"podSelector": of_the_release}]


def may_reach(policy: Object, address: str) -> bool:
    """Whether a policy lets its pods connect to an address outside of the release, port 25."""
    to = ip_address(address)
    blocks = [
        peer["ipBlock"]
        for rule in policy["spec"]["egress"]
        if "ports" not in rule
        for peer in rule["to"]
        if "ipBlock" in peer
    ]
    return any(
        to in ip_network(block["cidr"])
        and not any(to in ip_network(each) for each in block.get("except", ()))
        for block in blocks
    )


@pytest.mark.parametrize(
    ("case", "address", "delivery", "operator"),
    [
        ("default", "8.8.8.8", True, True),
        ("default", "2606:4700::1111", True, True),
        ("default", "10.43.0.1", True, True),  # until somebody says what is in the cluster
        ("default", "169.254.169.254", False, False),
        ("default", "fd00:ec2::254", False, False),
        ("default", "fe80::1", False, False),
        ("default", "0.0.0.0", False, False),
        ("default", "::", False, False),
        ("default", "::127.0.0.1", False, False),
        ("default", "::ffff:0:a9fe:a9fe", False, False),
        ("default", "64:ff9b:1::7f00:1", False, False),
        ("default", "192.0.0.192", False, False),
        ("default", "168.63.129.16", False, False),
        ("walled", "8.8.8.8", True, True),
        ("walled", "10.43.0.1", False, True),  # the API server
        ("walled", "fd42::1", False, True),
        ("walled", "10.43.7.7", True, True),
        ("walled", "169.254.169.254", False, False),
    ],
)
def test_mail_goes_out_and_not_to_denied_networks(
    rendered: Mapping[str, list[Object]], case: str, address: str, delivery: bool, operator: bool
) -> None:
    for name, may in (("delivery", delivery), ("operator", operator)):
        policy = named(rendered[case], "NetworkPolicy", name)
        assert "Egress" in policy["spec"]["policyTypes"]
        assert may_reach(policy, address) is may, name
    # Plugins that enforce no policies are common: the processes themselves heed the same networks.
    for name in ("delivery", "operator"):
        (container,) = named(rendered[case], "Deployment", name)["spec"]["template"]["spec"][
            "containers"
        ]
        brought = {each["name"]: each.get("value", "") for each in container["env"]}
        egress = {n: t for n, t in brought.items() if n.startswith("POSTROAD_EGRESS_")}
        settings = load(EgressSettings, {n.replace("EGRESS_", ""): t for n, t in egress.items()})
        assert settings.walls.admits(address) is delivery


def test_pods_reach_servers_of_your_own_inside_denied_networks(
    rendered: Mapping[str, list[Object]],
) -> None:
    for name in ("delivery", "operator"):
        rules = named(rendered["external-walled"], "NetworkPolicy", name)["spec"]["egress"]
        anywhere = [r["ports"] for r in rules if "to" not in r]
        assert [{each["port"] for each in ports} for ports in anywhere] == [
            {53, 5353},
            {4222, 14222},
        ]
        assert {} not in rules, "walls that everything goes through"
    for name in ("ingress", "delivery", "operator", "toolbox"):
        rules = named(rendered["external-named"], "NetworkPolicy", name)["spec"]["egress"]
        assert {"to": [{"ipBlock": {"cidr": "10.42.7.0/24"}}]} in rules
        assert {} not in rules


def test_the_toolbox_reaches_the_queue_and_the_ports_for_mail_alone(
    rendered: Mapping[str, list[Object]],
) -> None:
    policy = named(rendered["default"], "NetworkPolicy", "toolbox")["spec"]
    assert policy["ingress"] == []
    reached = {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in policy["egress"]
        for peer in rule.get("to", ())
    }
    assert reached == {"nats", "ingress"}


def test_nobody_publishes_the_pages_of_nats_server(rendered: Mapping[str, list[Object]]) -> None:
    ports = {
        port["port"]
        for each in rendered["default"]
        if each["kind"] == "Service" and "-nats" in each["metadata"]["name"]
        for port in each["spec"]["ports"]
    }
    assert ports == {4222, 6222}


def rights(objects: list[Object], kind: str) -> dict[tuple[str, str], set[str]]:
    """Return the verbs of all roles of a kind, by API group and resource."""
    return {
        (group, resource): set(rule["verbs"])
        for role in objects
        if role["kind"] == kind
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


@pytest.mark.parametrize(("case", "kind"), [("default", "Role"), ("everywhere", "ClusterRole")])
def test_the_operator_may_do_no_more_than_it_does(
    rendered: Mapping[str, list[Object]], case: str, kind: str
) -> None:
    allowed = rights(rendered[case], kind)
    assert allowed["", "secrets"] == {"get", "list", "watch"}
    assert allowed["postroad.dev", "domains"] == {"get", "list", "watch"}
    assert allowed["postroad.dev", "domaingrants"] == {"get", "list", "watch"}
    assert allowed["postroad.dev", "domaingrants/status"] == {"get", "patch"}
    assert all("*" not in verbs and "delete" not in verbs for verbs in allowed.values())


@pytest.mark.parametrize(
    ("case", "namespaces"), [("default", ["mail"]), ("theirs", ["shop", "mail"])]
)
def test_the_operator_has_rights_in_the_namespaces_that_it_follows_alone(
    rendered: Mapping[str, list[Object]], case: str, namespaces: list[str]
) -> None:
    objects = rendered[case]
    # Of the rest of the cluster it knows the names and labels of namespaces.
    assert rights(objects, "ClusterRole") == {("", "namespaces"): {"get", "list", "watch"}}
    everywhere = [o["roleRef"]["name"] for o in objects if o["kind"] == "ClusterRoleBinding"]
    assert everywhere == ["mail-post-postroad-operator-cluster"]
    named_there = [
        o["metadata"].get("namespace", "mail")
        for o in objects
        if o["kind"] == "RoleBinding" and o["roleRef"]["name"] == "mail-post-postroad-operator"
    ]
    assert named_there == namespaces  # DomainGrants stand in the release's own
    bound = [o for o in objects if o["kind"] == "RoleBinding"]
    assert {o["roleRef"]["kind"] for o in bound} == {"Role"}
    (variables,) = [
        {e["name"]: e.get("value") for e in c["env"]}
        for c in named(objects, "Deployment", "operator")["spec"]["template"]["spec"]["containers"]
    ]
    assert {"mail", *str(variables["POSTROAD_WATCH_NAMESPACES"]).split(",")} == set(namespaces)


def test_the_operator_follows_all_namespaces_where_that_is_asked_for(
    rendered: Mapping[str, list[Object]],
) -> None:
    pod = named(rendered["everywhere"], "Deployment", "operator")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert "POSTROAD_WATCH_NAMESPACES" not in {each["name"] for each in container["env"]}


def test_people_have_a_pod_with_the_rights_of_the_command_alone(
    rendered: Mapping[str, list[Object]],
) -> None:
    spec = named(rendered["default"], "Deployment", "toolbox")["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    secrets = {volume["name"]: volume["secret"]["items"] for volume in spec["volumes"]}
    assert [item["key"] for item in secrets["nats-password"]] == ["command"]
    assert [item["key"] for item in secrets["nats-ca"]] == ["ca.crt"]
    assert "cluster-key" not in secrets
    variables = {e["name"]: e["value"] for e in spec["containers"][0]["env"]}
    assert variables["POSTROAD_NATS_USER"] == "command"
    assert variables["POSTROAD_NATS_PASSWORD_FILE"] == "/secrets/nats/command"
    operator = named(rendered["default"], "Deployment", "operator")["spec"]["template"]["spec"]
    logins = next(v for v in operator["volumes"] if v["name"] == "nats-password")
    assert [item["key"] for item in logins["secret"]["items"]] == ["operator"]
    assert not [o for o in rendered["everywhere"] if o["metadata"]["name"].endswith("-toolbox")]


@pytest.mark.parametrize("file", ["alerts.yaml", "dashboard.json"])
def test_whatever_is_watched_is_measured(file: str) -> None:
    page = (CHART.parents[1] / "docs" / "metrics.md").read_text(encoding="utf-8")
    measured = set(re.findall(r"^### `(\w+)`$", page, re.MULTILINE))
    watched = set(re.findall(r"\bpostroad_\w+(?=\{)", (CHART / "files" / file).read_text()))
    assert len(watched) > 8
    assert {re.sub("_bucket$", "", name) for name in watched} <= measured


def test_alerts_are_about_this_release(rendered: Mapping[str, list[Object]]) -> None:
    rule = named(rendered["monitored"], "PrometheusRule", "")
    for alert in rule["spec"]["groups"][0]["rules"]:
        assert 'namespace="mail"' in alert["expr"]
        assert "post-postroad-" in alert["expr"]
        assert alert["annotations"]["summary"].endswith(".") or "{{" in str(alert)
