"""Settings: values from the environment, and the errors for wrong ones."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path

import pytest

from postroad.process.errors import SettingsError
from postroad.process.settings import changed, describe, group, load, names, setting, unknown
from postroad.units.addresses import ListenAddress, SocketAddress
from postroad.units.quantities import ByteSize
from postroad.units.secret import Secret


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Nats:
    url: str = setting("nats://localhost")
    token: Secret | None = None


@dataclass(frozen=True, slots=True)
class Settings:
    relay: ListenAddress
    hosts: tuple[SocketAddress, ...] = ()
    limit: ByteSize = setting(ByteSize(1000), maximum=ByteSize(2000))
    idle: timedelta = setting(timedelta(minutes=5), minimum=timedelta(seconds=1))
    workers: int = setting(2, minimum=1, maximum=64)
    tls: bool = setting(True)
    colour: Colour = setting(Colour.RED)
    state: Path | None = None
    smtp_port: int = setting(25, name="POSTROAD_PORT_FOR_MX")
    nats: Nats = group(Nats)
    log: Nats = group(Nats, prefix="")


@dataclass(frozen=True, slots=True)
class Ordered:
    low: int = setting(1)
    high: int = setting(2)

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("POSTROAD_LOW is more than POSTROAD_HIGH")


def test_every_kind_is_read() -> None:
    settings = load(
        Settings,
        {
            "POSTROAD_RELAY": "[::1]:25",
            "POSTROAD_HOSTS": "a.example:1, b.example:2",
            "POSTROAD_LIMIT": "1.5kB",
            "POSTROAD_IDLE": "1m30s",
            "POSTROAD_WORKERS": "64",
            "POSTROAD_TLS": "off",
            "POSTROAD_COLOUR": "blue",
            "POSTROAD_STATE": "/var/lib/postroad",
            "POSTROAD_PORT_FOR_MX": "2525",
            "POSTROAD_NATS_URL": "nats://n",
            "POSTROAD_NATS_TOKEN": "t0ps3cret",
            "POSTROAD_URL": "ungrouped",
        },
    )
    assert settings == Settings(
        relay=ListenAddress("::1", 25),
        hosts=(SocketAddress("a.example", 1), SocketAddress("b.example", 2)),
        limit=ByteSize(1500),
        idle=timedelta(seconds=90),
        workers=64,
        tls=False,
        colour=Colour.BLUE,
        state=Path("/var/lib/postroad"),
        smtp_port=2525,
        nats=Nats("nats://n", Secret("t0ps3cret")),
        log=Nats("ungrouped"),
    )


def test_what_is_unset_or_empty_has_its_default() -> None:
    settings = load(Settings, {"POSTROAD_RELAY": "127.0.0.1:25", "POSTROAD_WORKERS": " "})
    assert settings == Settings(relay=ListenAddress("127.0.0.1", 25))


def test_every_mistake_is_told_at_once_with_its_variable() -> None:
    with pytest.raises(SettingsError) as caught:
        load(
            Settings,
            {
                "POSTROAD_LIMIT": "2001",
                "POSTROAD_IDLE": "10",
                "POSTROAD_WORKERS": "0",
                "POSTROAD_TLS": "perhaps",
                "POSTROAD_COLOUR": "green",
                "POSTROAD_NATS_TOKEN_FILE": "/nowhere/token",
            },
        )
    assert caught.value.problems == (
        "POSTROAD_RELAY: is required and not set",
        "POSTROAD_LIMIT: 2001 is more than 2000",
        "POSTROAD_IDLE: '10' is not a duration; write it like 30s, 15m, 1h30m or 5d",
        "POSTROAD_WORKERS: 0 is less than 1",
        "POSTROAD_TLS: 'perhaps' is neither true nor false",
        "POSTROAD_COLOUR: 'green' is not one of red, blue",
        "POSTROAD_NATS_TOKEN: the file /nowhere/token cannot be read: No such file or directory",
    )
    assert str(caught.value).startswith("7 settings cannot be used:\n  POSTROAD_RELAY: ")


def test_fields_that_contradict_each_other_are_told_too() -> None:
    with pytest.raises(SettingsError, match="POSTROAD_LOW is more than POSTROAD_HIGH"):
        load(Ordered, {"POSTROAD_LOW": "3"})


def test_a_secret_comes_from_a_file_without_its_newline(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n", encoding="utf-8")
    settings = load(Nats, {"POSTROAD_TOKEN_FILE": str(tmp_path / "token")})
    assert settings.token is not None
    assert settings.token.reveal() == "from a file"


def test_a_secret_from_two_places_is_refused() -> None:
    with pytest.raises(SettingsError, match="keep one of them"):
        load(Nats, {"POSTROAD_TOKEN": "a", "POSTROAD_TOKEN_FILE": "/b"})


def test_an_empty_secret_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="is empty"):
        load(Nats, {"POSTROAD_TOKEN_FILE": str(tmp_path / "token")})


@pytest.mark.parametrize(
    ("url", "described"),
    [
        ("nats://10.0.0.1:4222", "nats://10.0.0.1:4222"),
        ("nats://t0ken@10.0.0.1:4222", "nats://***@10.0.0.1:4222"),
        ("t0ken@10.0.0.1:4222", "***@10.0.0.1:4222"),
        ("u:p@a:1,u:p@b:2", "***@b:2"),
        ("nats://u:a/b@h", "nats://***@h"),
        ("nats://u:a,b@h,nats://c:1", "nats://***@h,nats://c:1"),
        ("nats://x y:pw@h", "nats://***@h"),
        ("127.0.0.1:4222,nats://[::1]:4222", "127.0.0.1:4222,nats://[::1]:4222"),
        ("tls://u:p@ss@a:1,nats://u:p%40ss@b:2", "tls://***@a:1,nats://***@b:2"),
    ],
)
def test_a_login_in_a_url_is_no_more_told_than_a_secret(url: str, described: str) -> None:
    settings = load(Nats, {"POSTROAD_URL": url})
    assert describe(settings)["POSTROAD_URL"] == described


def test_what_is_described_for_the_log_hides_secrets() -> None:
    settings = load(
        Settings,
        {
            "POSTROAD_RELAY": "fd:7",
            "POSTROAD_NATS_TOKEN": "t0ps3cret",
            "POSTROAD_IDLE": "90s",
            "POSTROAD_HOSTS": "a.example:1,b.example:2",
        },
    )
    described = describe(settings)
    assert described["POSTROAD_RELAY"] == "fd:7"
    assert described["POSTROAD_HOSTS"] == "a.example:1,b.example:2"
    assert described["POSTROAD_IDLE"] == "1m30s"
    assert described["POSTROAD_TLS"] == "true"
    assert described["POSTROAD_NATS_TOKEN"] == "***"
    assert described["POSTROAD_PORT_FOR_MX"] == "25"
    assert "t0ps3cret" not in str(described) + repr(settings)


def test_only_what_differs_from_its_default_has_changed() -> None:
    environ = {"POSTROAD_RELAY": ":25", "POSTROAD_IDLE": "5m", "POSTROAD_NATS_TOKEN": "t"}
    environ["POSTROAD_URL"] = "nats://other"
    assert changed(load(Settings, environ)) == {
        "POSTROAD_RELAY": "[::]:25",
        "POSTROAD_NATS_TOKEN": "***",
        "POSTROAD_URL": "nats://other",
    }


def test_every_variable_has_a_name_and_a_secret_two() -> None:
    found = names(Settings)
    assert found >= {"POSTROAD_RELAY", "POSTROAD_PORT_FOR_MX", "POSTROAD_NATS_URL", "POSTROAD_URL"}
    assert found >= {"POSTROAD_NATS_TOKEN", "POSTROAD_NATS_TOKEN_FILE"}
    assert "POSTROAD_SMTP_PORT" not in found


def test_a_name_that_no_setting_has_is_told_with_the_one_it_may_mean() -> None:
    environ = ["POSTROAD_IDEL", "POSTROAD_NAST_TOKEN_FILE", "POSTROAD_X", "POSTROAD_IDLE", "PATH"]
    assert unknown(environ, names(Settings)) == {
        "POSTROAD_IDEL": "POSTROAD_IDLE",
        "POSTROAD_NAST_TOKEN_FILE": "POSTROAD_NATS_TOKEN_FILE",
        "POSTROAD_X": None,
    }
