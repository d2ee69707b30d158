"""
The example manifests that `postroad up` uses without --config: a complete relay without a way out.

Its only Relay leads to a sink on loopback that `up` itself runs. So a first message is delivered,
and still never leaves the machine. The files are in the state folder, and users may edit them.
Edits apply live and are kept: a later start writes only missing files, and the sink's port if it
has changed.
"""

import re
from pathlib import Path

_RELAY = """\
# How mail leaves: every destination goes to the sink that `postroad up` runs on this machine.
# Replace `smarthosts` by `mx: {{}}` to deliver to the world, or by your provider's smarthost.
apiVersion: postroad.dev/v1alpha1
kind: Relay
metadata: {{name: sink}}
spec:
  destinations: ["*"]
  smarthosts: [{{host: 127.0.0.1, port: {port}}}]
  tls: {{mode: None}}
"""

_CLIENT = """\
# Who may submit: anyone on this machine, without a password, as any sender.
apiVersion: postroad.dev/v1alpha1
kind: Client
metadata: {name: this-machine}
spec:
  networks: ["127.0.0.0/8", "::1/128"]
  senders: ["*"]
  class: Transactional
"""

_DOMAIN = """\
# A domain this relay sends for.
apiVersion: postroad.dev/v1alpha1
kind: Domain
metadata: {name: example-com}
spec:
  domain: example.com
  send:
    relayRef: {name: sink}
"""

_QUOTA = """\
# How much it may send: enough for trying things out, exact for the whole cluster.
apiVersion: postroad.dev/v1alpha1
kind: Quota
metadata: {name: hourly}
spec:
  subject: {namespace: default}
  limits: [{messages: 1000000, per: 1h}]
"""


# The line of relay.yaml that names the sink, unless the user has replaced it.
_SINK_LINE = re.compile(r"smarthosts: \[\{host: 127\.0\.0\.1, port: (\d+)\}\]")


def sink_port(folder: Path) -> int:
    """Return the port of the example's sink at the last start, 0 if there was none."""
    try:
        match = _SINK_LINE.search((folder / "relay.yaml").read_text())
    except OSError:
        return 0
    return int(match[1]) if match else 0


def write_example(folder: Path, *, port: int) -> None:
    """Write the missing example manifests, and the sink's port if the sink is still in use."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "relay.yaml": _RELAY.format(port=port),
        "client.yaml": _CLIENT,
        "domain.yaml": _DOMAIN,
        "quota.yaml": _QUOTA,
    }
    for name, text in texts.items():
        path = folder / name
        if not path.exists():
            path.write_text(text)
    relay = folder / "relay.yaml"
    line = f"smarthosts: [{{host: 127.0.0.1, port: {port}}}]"
    relay.write_text(_SINK_LINE.sub(line, relay.read_text()))
