"""Manifests for tests of the compiler; those with `%s` take a namespace or more fields."""

RELAY = "kind: Relay\nmetadata: {name: out}\nspec: {mx: {}}"
SHARED = """\
kind: Relay
metadata: {name: shared, namespace: mail}
spec: {mx: {}, allowedNamespaces: %s}"""
CLIENT = "kind: Client\nmetadata: {name: c}\nspec: {networks: [10.0.0.0/8], senders: ['*']%s}"
RECEIVING = """\
kind: Domain
metadata: {name: a, namespace: %s}
spec:
  domain: a.example
  receive: {route: {hosts: [{host: real.example}]}}
  send: {relayRef: {name: shared, namespace: mail}}"""
SENDING = "kind: Domain\nmetadata: {name: %s%s}\nspec: {domain: %s, send: {}}"
LOGIN = """\
kind: Client
metadata: {name: %s, namespace: x}
spec: {auth: {secretRef: {name: %s}}, senders: ['*']}"""


def secret(
    username: str = "u",
    password: str = "p",  # noqa: S107 - of a test
    name: str = "s",
    namespace: str = "x",
) -> str:
    return (
        f"kind: Secret\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"stringData: {{username: '{username}', password: '{password}'}}"
    )
