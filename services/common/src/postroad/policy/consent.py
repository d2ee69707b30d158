"""
Decides who may send as a Domain: Clients of its own namespace, and of namespaces that it admits.

The compiler checks senders that name a domain. Admission checks again at each MAIL command, because
for a pattern such as * the domain is known only then. A Domain whose claim to its name is not
proven keeps nobody from sending as that name.
"""

from postroad.policy.model import Domain, Reach


def may_send_as(domain: Domain | None, namespace: str) -> bool:
    """Whether Clients of a namespace may send as the name of a Domain, the one for strangers."""
    if domain is None or domain.key.namespace == namespace or domain.reach is not Reach.EVERYBODY:
        return True
    return domain.admits is None or namespace in domain.admits
