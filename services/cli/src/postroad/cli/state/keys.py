"""
The cluster keys of the state folder: one for each role that reads secrets.

Before roles had keys of their own there was one, `cluster.key`. It goes on as ingress's, because
the verifiers of Clients' passwords are made with it: thousands would take minutes to make anew.
"""

from pathlib import Path

from postroad.cli.errors import CommandError
from postroad.cli.state.folder import StateFolder, unwritable
from postroad.policy.secrets.keyfile import KeyFileError, load_or_create_key
from postroad.policy.secrets.seal import Keyrings, Reader


def load_keyrings(state: StateFolder) -> Keyrings:
    """Read the keys, and create those that are missing; CommandError if one cannot be used."""
    _take_over(state.path / "cluster.key", state.key_of(Reader.INGRESS))
    try:
        return {reader: load_or_create_key(state.key_of(reader)) for reader in Reader}
    except KeyFileError as error:
        raise CommandError(str(error)) from error


def _take_over(before: Path, now: Path) -> None:
    if now.exists():
        return
    try:
        before.rename(now)
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(error) from error
