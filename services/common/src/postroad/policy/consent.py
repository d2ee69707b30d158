"""
Decides who may send as a Domain: Clients of its own namespace, and of namespaces that it admits.

The compiler checks senders that name a domain. Admission checks again at each MAIL command, because
for a pattern such as * the domain is known only then.
"""

from postroad.policy.model import Domain


def may_send_as(domain: Domain, namespace: str) -> bool:
    """Whether Clients of a namespace may send as a Domain."""
    return domain.key.namespace == namespace or domain.admits is None or namespace in domain.admits
