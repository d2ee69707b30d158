"""
What measures, breaks and judges Postroad as a whole: benchmarks, kills under load, simulated
clusters, endurance, many connections, scenarios on Kubernetes.

It drives the product through what users have, and the doubles of `postroad.testing` for the rest.
It is a source root of its own, so that a checkout has it and neither wheel nor image does.
"""
