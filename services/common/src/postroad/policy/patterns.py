"""
Patterns in objects: `*`, `example.com`, `*.example.com` for domains; `*@example.com` for addresses.

Domains compare as A-labels in lower case, local parts by what is meant, without regard to case: a
pattern is written by a person about people, and no two people differ by case or quotes alone.
"""

from collections.abc import Iterable, Iterator

from postroad.mail.address import meant


def matching(domain: str) -> Iterator[str]:
    """Yield all domain patterns that fit a domain, the closest first."""
    yield domain
    at = domain.find(".")
    while at >= 0:
        yield f"*{domain[at:]}"
        at = domain.find(".", at + 1)
    yield "*"


def specificity(pattern: str, domain: str) -> int:
    """Return how closely a domain pattern fits: 0 not at all, more is closer, exact is closest."""
    if pattern == domain:
        return 1000
    if pattern == "*":
        return 1
    if pattern.startswith("*.") and domain.endswith(pattern[1:]):
        return 1 + pattern.count(".")
    return 0


def address_matches(pattern: str, local_part: str, domain: str) -> bool:
    """Whether an address fits `local@domain`, `*@domain`, `*@*.domain` or `*`."""
    if pattern == "*":
        return True
    pattern_local, at, pattern_domain = pattern.rpartition("@")
    if not at or not specificity(pattern_domain, domain):
        return False
    return pattern_local == "*" or meant(pattern_local) == meant(local_part)


def address_keys(patterns: Iterable[str]) -> frozenset[str]:
    """
    Return address patterns as `any_matches` looks them up, however many they are.

    A whole local part is written as it is meant; `*@` is left out, which no address can look like.
    """
    return frozenset(address_key(each) for each in patterns if "@" in each or each == "*")


def address_key(pattern: str) -> str:
    """Return an address pattern as `address_keys` has it."""
    local_part, at, domain = pattern.rpartition("@")
    if not at or local_part == "*":
        return domain
    key = f"{meant(local_part)}@{domain}"
    return pattern if key == pattern else key  # one text in memory, not two


def any_matches(keys: frozenset[str], local_part: str, domain: str) -> bool:
    """Whether an address fits one of the patterns that `keys` were made of."""
    if "*" in keys or domain in keys:
        return True
    local_part = meant(local_part)
    if f"{local_part}@{domain}" in keys:
        return True
    return any(each in keys or f"{local_part}@{each}" in keys for each in matching(domain))
