"""The names of all environment variables that Postroad reads, to detect misspelt ones."""

from collections.abc import Mapping

from postroad.delivery.settings import DeliverySettings
from postroad.ingress.settings import IngressSettings
from postroad.operator.settings import OperatorSettings
from postroad.process.entry import RuntimeSettings
from postroad.process.settings import names
from postroad.telemetry.lines.fields import names_secret

_OF_FLAGS = frozenset({"POSTROAD_STATE", "POSTROAD_PASSWORD"})
_OF_UP = "POSTROAD_NATS_"  # `up` has its own queue and ignores these


def known_names() -> frozenset[str]:
    """Return all names."""
    processes = (RuntimeSettings, IngressSettings, DeliverySettings, OperatorSettings)
    return _OF_FLAGS.union(*(names(each) for each in processes))


def set_by_hand(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings in an environment that apply to the processes of `up`, except secrets."""
    known = known_names() - _OF_FLAGS
    return {
        name: "***" if names_secret(name) else environ[name]
        for name in sorted(known & environ.keys())
        if environ[name].strip() and not name.startswith(_OF_UP)
    }
