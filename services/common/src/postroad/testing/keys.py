"""Cluster keys for tests."""

from pathlib import Path

from postroad.policy.secrets.keyfile import load_or_create_key
from postroad.policy.secrets.seal import KEY_BYTES, ClusterKey, Keyring, Keyrings, Reader


def keyrings(letter: bytes = b"k") -> Keyrings:
    """Return a keyring for each reader, as who publishes has them; each has another key."""
    return {
        reader: Keyring([ClusterKey((letter + reader.encode()).ljust(KEY_BYTES, letter))])
        for reader in Reader
    }


def keyrings_in(folder: Path) -> Keyrings:
    """Return keyrings whose keys are files in a folder, each with the name of its reader."""
    return {reader: load_or_create_key(folder / f"{reader}.key") for reader in Reader}
