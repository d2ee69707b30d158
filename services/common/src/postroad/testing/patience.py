"""
Scales the timeouts of tests by one factor, for a slow or busy machine.

A timeout in a test decides when an expected event counts as missing; it does not measure the
product's speed. $POSTROAD_TEST_PATIENCE multiplies all of them (1 when not set).
"""

import os


def patient(seconds: float) -> float:
    """Return a timeout of `seconds`, multiplied by the factor of this machine."""
    return seconds * float(os.environ.get("POSTROAD_TEST_PATIENCE") or 1)
