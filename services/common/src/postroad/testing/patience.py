"""
How long tests wait: every limit grows by one factor, for a machine that is slow or has other work.

A limit in a test says when a thing that should happen has failed to happen; it says nothing of the
product's speed. $POSTROAD_TEST_PATIENCE multiplies all of them (1 when not set).
"""

import os


def patient(seconds: float) -> float:
    """Return how many seconds a test waits here for what takes at most `seconds` elsewhere."""
    return seconds * float(os.environ.get("POSTROAD_TEST_PATIENCE") or 1)
