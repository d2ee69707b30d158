"""
The file of the cluster key: 32 random octets in base64 on one line, readable only by its owner.

It is created once and never overwritten, because no other key can decrypt the published secrets.
"""

import base64
import binascii
import contextlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from postroad.policy.secrets.seal import KEY_BYTES, ClusterKey, Keyring


class KeyFileError(Exception):
    """A key file cannot be used; the text is one sentence with what to do."""


def load_keyring(paths: Sequence[Path]) -> Keyring:
    """Read the keys; the first one is used to seal. Raises KeyFileError."""
    if not paths:
        raise KeyFileError("no cluster key file is named")
    return Keyring([_load_key(path) for path in paths])


def _load_key(path: Path) -> ClusterKey:
    try:
        text = path.read_bytes()[:4096]
    except OSError as error:
        reason = error.strerror or str(error)
        raise KeyFileError(f"the cluster key {path} cannot be read: {reason}") from error
    try:
        return ClusterKey(base64.b64decode(text.strip(), validate=True))
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(
            f"{path} holds no cluster key; one is {KEY_BYTES} random octets in base64"
        ) from error


def load_or_create_key(path: Path) -> Keyring:
    """
    Read the key file; create it first if there is none. Several processes may do so at once.

    Raises KeyFileError. It never replaces a file, since a damaged key may still be repaired.
    """
    if not path.exists():
        try:
            _create(path)
        except OSError as error:
            reason = error.strerror or str(error)
            raise KeyFileError(f"the cluster key {path} cannot be made: {reason}") from error
    return load_keyring([path])


def _create(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        # A link is atomic, and it fails when another process was first.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
