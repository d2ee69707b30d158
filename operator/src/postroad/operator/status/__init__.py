"""
Works out each object's status, and writes it.

`reconcile` and `dns_facts` are pure functions of the known facts. `controller` calls them when a
fact has changed. `writer` writes the latest status of each object.

In: declared objects, what the compiler found, results of probes, generations in force. Out: the
status of each object that has changed, and Events about it, to the API server.
"""
