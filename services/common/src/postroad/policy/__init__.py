"""
What the data plane knows of the configuration, and the decisions that follow from it. No I/O.

`codec` and `snapshot` turn published entries into values (`model`). `egress_path`, `patterns` and
`consent` decide for one message; `limits` for many; `secrets` seals what the queue must not show.
"""
