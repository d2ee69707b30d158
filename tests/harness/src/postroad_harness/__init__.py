"""
Tests of Postroad as a whole: benchmarks, kills under load, simulated clusters, endurance, many
connections, and scenarios on Kubernetes.

They drive the product through its user interfaces, and use the doubles of `postroad.testing` for
everything else. The harness is a source root of its own: it is in a checkout, but neither in the
wheel nor in the images. `setups` is for the tests of single parts: what several files share.
"""
