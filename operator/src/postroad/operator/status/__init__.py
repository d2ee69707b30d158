"""
What each object's status should say, and writing it.

`reconcile` and `dns_facts` are pure functions of what is known; `controller` calls them when
anything they follow from has changed; `writer` writes what is wanted last.
"""
