"""
The configuration as the data plane uses it, and the decisions that follow from it. No I/O.

`codec` and `snapshot` turn published entries into values (`model`). `egress_path`, `patterns` and
`consent` decide about one message, `limits` about many. `secrets` encrypts passwords in the
configuration.

In: published entries as octets, the keyring of this role, and facts about a message. Out: a
`Snapshot`, egress paths, consent, and sealed entries to publish.
"""
