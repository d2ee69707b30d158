"""The operator does not start with more egress pools than replicated servers can bear."""

from dataclasses import replace

import pytest

from postroad.operator.settings import LayoutSettings, OperatorSettings

THREE_SERVERS = LayoutSettings(replicas=3)


def test_more_pools_than_the_servers_bear_are_refused_with_the_numbers() -> None:
    most = OperatorSettings(queue=THREE_SERVERS, pools=("default", "bulk", "news"))
    with pytest.raises(ValueError, match="1152 consumers for 4 pools, and at most 1000"):
        replace(most, pools=("bulk", "news", "more"))
    fewer = LayoutSettings(replicas=3, lanes=16)
    assert replace(most, queue=fewer, pools=("bulk", "news", "more")).queue == fewer
    assert replace(most, queue=LayoutSettings(), pools=("bulk", "news", "more"))
