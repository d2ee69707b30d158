"""docs/settings.md says what the declarations say."""

from pathlib import Path

from postroad.cli.settings_page import page

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_what_the_code_says() -> None:
    committed = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert committed == page(), "docs/settings.md is old: run `make docs`"


def test_every_variable_that_users_were_promised_is_there() -> None:
    for name in ("SMTP_PORT", "ALLOW_PRIVATE_MX", "LISTEN_RELAY", "HTTP", "NATS_URL"):
        assert f"| `POSTROAD_{name}` |" in page()
