"""A pytest plugin, named in pyproject.toml, that multiplies the time limit of each test."""

import pytest
import pytest_timeout

from postroad.testing.patience import patient


@pytest.hookimpl(tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> object:
    """Multiply a test's time limit, whether from the configuration, a marker or a flag."""
    lengthened = settings._replace(timeout=patient(settings.timeout))
    return pytest_timeout.pytest_timeout_set_timer(item, lengthened)
