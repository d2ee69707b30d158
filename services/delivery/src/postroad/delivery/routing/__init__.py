"""
Finds where mail goes: its egress path in the configuration, and its hosts in the DNS.

`egress_paths` and `sources` choose the path. `router` asks the resolver (`postroad.dns`), and
`routes` decides. `lookups` limits what waits for the DNS.

In: a record, the configuration, and answers of the DNS. Out: to `dispatch`, a record's egress path
with its source, and a `Route` (hosts and their site) or `NoRoute`.
"""
