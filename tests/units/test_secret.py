"""Secrets are never shown."""

from postroad.units.secret import Secret


def test_a_secret_is_shown_by_nothing() -> None:
    secret = Secret("t0ps3cret")
    assert "t0ps3cret" not in f"{secret} {secret!r} {[secret]}"
    assert secret.reveal() == "t0ps3cret"
