"""
Who may send as a Domain: its own namespace's Clients, and those of namespaces it admits.

Compiling looks at it for senders that name a domain, admission for each MAIL command, since
patterns such as * say nothing before.
"""

from postroad.policy.model import Domain


def may_send_as(domain: Domain, namespace: str) -> bool:
    """Whether Clients of a namespace may send as a Domain."""
    return domain.key.namespace == namespace or domain.admits is None or namespace in domain.admits
