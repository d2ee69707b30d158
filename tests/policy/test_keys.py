"""The file of the cluster key: created once, private, never overwritten."""

import base64
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postroad.policy.secrets.keyfile import KeyFileError, load_keyring, load_or_create_key


def test_a_key_is_made_private_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    sealed = load_or_create_key(path).seal("a", b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path).open("a", sealed) == b"x"
    assert [each.name for each in tmp_path.iterdir()] == ["cluster.key"]


def test_of_many_who_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    with ThreadPoolExecutor(8) as pool:
        rings = list(pool.map(lambda _: load_or_create_key(path), range(32)))
    assert len({ring.seal("a", b"x") for ring in rings}) == 1


@pytest.mark.parametrize("content", [b"", b"no key", base64.b64encode(b"k" * 16), b"\xff" * 44])
def test_a_damaged_key_is_said_so_and_left_alone(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cluster.key"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match="holds no cluster key"):
        load_or_create_key(path)
    assert path.read_bytes() == content


def test_where_it_cannot_be_read_or_made_is_said(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be made: No such file"):
        load_or_create_key(tmp_path / "none" / "cluster.key")
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        load_keyring([tmp_path / "cluster.key"])


def test_the_first_of_several_keys_seals(tmp_path: Path) -> None:
    new, old = tmp_path / "new", tmp_path / "old"
    old_ring, new_ring = load_or_create_key(old), load_or_create_key(new)
    both = load_keyring([new, old])
    assert both.seal("a", b"x") == new_ring.seal("a", b"x")
    assert both.open("a", old_ring.seal("a", b"x")) == b"x"
