"""The clock of the resolver, for all its tests."""

from types import SimpleNamespace

import pytest

from postroad.dns import client as dns_client_module
from postroad.dns import resolver as resolver_module
from postroad_harness.setups.dns import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    for module in (resolver_module, dns_client_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=moved.monotonic))
    monkeypatch.setattr(resolver_module, "_PATIENCE", 0.3)
    monkeypatch.setattr(resolver_module, "_LIFETIME", 0.3)
    return moved
