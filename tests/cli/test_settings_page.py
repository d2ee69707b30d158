"""docs/settings.md agrees with the declarations of the settings."""

import re
from pathlib import Path

from postroad.cli.all_settings import known_names, set_by_hand
from postroad.cli.settings_page import page

ROOT = Path(__file__).parents[2]


def test_the_committed_page_is_what_the_code_says() -> None:
    committed = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert committed == page(), "docs/settings.md is old: run `make docs`"


def test_every_variable_that_users_were_promised_is_there() -> None:
    for name in ("SMTP_PORT", "ALLOW_PRIVATE_MX", "LISTEN_RELAY", "HTTP", "NATS_URL"):
        assert f"| `POSTROAD_{name}` |" in page()


def test_every_variable_of_the_page_is_known() -> None:
    listed = set(re.findall(r"^\| `(POSTROAD_\w+)` \|", page(), re.MULTILINE))
    assert listed
    assert listed <= known_names()


def test_what_is_set_by_hand_is_told_without_secrets() -> None:
    environ = {
        "POSTROAD_LIMIT_IDLE": "6m",
        "POSTROAD_LIMIT_IDEL": "7m",
        "POSTROAD_NATS_URL": "nats://elsewhere",
        "POSTROAD_PASSWORD": "hunter2",
        "POSTROAD_SMTP_PORT": "",
        "PATH": "/bin",
    }
    assert set_by_hand(environ) == {
        "POSTROAD_LIMIT_IDLE": "6m",
    }
