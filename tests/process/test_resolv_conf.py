"""The name servers are those of resolv.conf at the moment, as for all else on a machine."""

from pathlib import Path

import pytest

from postroad.process.machine.resolv_conf import ResolvConf
from postroad.testing.descriptors import no_descriptors


def test_a_changed_file_counts_within_seconds(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    conf = ResolvConf(path)
    assert conf.lines(100.0) == "nameserver 192.0.2.1"
    path.write_text("nameserver 192.0.2.53\n")
    assert conf.lines(105.0) == "nameserver 192.0.2.53"


def test_a_file_that_another_replaces_counts_though_size_and_time_are_the_same(
    tmp_path: Path,
) -> None:
    path, other = tmp_path / "resolv.conf", tmp_path / "other"
    path.write_text("nameserver 192.0.2.1\n")
    conf = ResolvConf(path)
    conf.lines(100.0)
    other.write_text("nameserver 192.0.2.2\n")
    path.rename(tmp_path / "old")
    other.rename(path)
    assert conf.lines(105.0) == "nameserver 192.0.2.2"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "search example.net\n",
        "# nameserver 192.0.2.1\n",
        "nameserver\n",
        "nameserver dns\n",
        None,
    ],
)
def test_without_a_name_server_it_is_this_machine(text: str | None, tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    if text is not None:
        path.write_text(text)
    assert ResolvConf(path).lines(100.0) == "nameserver 127.0.0.1"


def test_a_file_that_comes_late_counts(tmp_path: Path) -> None:
    conf = ResolvConf(tmp_path / "resolv.conf")
    conf.lines(100.0)
    (tmp_path / "resolv.conf").write_text("nameserver 2001:db8::53\nnameserver fe80::1%eth0\n")
    assert conf.lines(105.0) == "nameserver 2001:db8::53\nnameserver fe80::1%eth0"


def test_options_stay_and_what_no_server_can_be_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "resolv.conf"
    path.write_bytes(
        b"domain \xff\nsearch -\noptions timeout:2\nnameserver x\nnameserver 192.0.2.1\n"
    )
    assert ResolvConf(path).lines(100.0) == "nameserver 192.0.2.1\noptions timeout:2"


def test_a_file_that_cannot_be_opened_for_want_of_descriptors_is_read_later(
    tmp_path: Path,
) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("nameserver 192.0.2.1\n")
    conf = ResolvConf(path)
    conf.lines(100.0)
    path.write_text("nameserver 192.0.2.53\n")
    with no_descriptors():
        assert conf.lines(105.0) == "nameserver 192.0.2.1"
    assert conf.lines(110.0) == "nameserver 192.0.2.53"
