"""The plugin of pytest, named in pyproject.toml, that lengthens the limit of each test."""

import pytest
import pytest_timeout

from postroad.testing.patience import patient


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Begin a test's limit, lengthened, whoever set it: the configuration, a marker, a flag."""
    lengthened = settings._replace(timeout=patient(settings.timeout))
    return pytest_timeout.pytest_timeout_set_timer(item, lengthened)
