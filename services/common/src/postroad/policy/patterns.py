"""
Patterns in objects: `*`, `example.com`, `*.example.com` for domains; `*@example.com` for addresses.

Domains compare as A-labels in lower case. Local parts compare without regard to quoting and case,
because no two people have addresses that differ only in that.
"""

from collections.abc import Iterable, Iterator

from postroad.mail.address import meant


def matching(domain: str) -> Iterator[str]:
    """Yield all patterns that match a domain, the most specific first."""
    yield domain
    at = domain.find(".")
    while at >= 0:
        yield f"*{domain[at:]}"
        at = domain.find(".", at + 1)
    yield "*"


def specificity(pattern: str, domain: str) -> int:
    """Return how specific a match is: 0 is no match, and an exact match is the highest."""
    if pattern == domain:
        return 1000
    if pattern == "*":
        return 1
    if pattern.startswith("*.") and domain.endswith(pattern[1:]):
        return 1 + pattern.count(".")
    return 0


def address_matches(pattern: str, local_part: str, domain: str) -> bool:
    """Whether an address matches `local@domain`, `*@domain`, `*@*.domain` or `*`."""
    if pattern == "*":
        return True
    pattern_local, at, pattern_domain = pattern.rpartition("@")
    if not at or not specificity(pattern_domain, domain):
        return False
    return pattern_local == "*" or meant(pattern_local) == meant(local_part)


def address_keys(patterns: Iterable[str]) -> frozenset[str]:
    """
    Return address patterns in the form in which `any_matches` looks them up.

    A local part is in its compared form (`meant`). `*@domain` becomes `domain`, which no address
    can be confused with.
    """
    return frozenset(address_key(each) for each in patterns if "@" in each or each == "*")


def address_key(pattern: str) -> str:
    """Return one address pattern in the form of `address_keys`."""
    local_part, at, domain = pattern.rpartition("@")
    if not at or local_part == "*":
        return domain
    key = f"{meant(local_part)}@{domain}"
    return pattern if key == pattern else key  # keep one string in memory, not two


def any_matches(keys: frozenset[str], local_part: str, domain: str) -> bool:
    """Whether an address matches one of the patterns that `keys` were made from."""
    if "*" in keys or domain in keys:
        return True
    local_part = meant(local_part)
    if f"{local_part}@{domain}" in keys:
        return True
    return any(each in keys or f"{local_part}@{each}" in keys for each in matching(domain))
