"""The start of a command: how much it imports, and what Ctrl-C does during it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from postroad.testing.patience import patient

# Each takes longer to import than the interpreter takes to start.
HEAVY = ("aiohttp", "asyncio", "cryptography", "google", "nats", "pydantic", "ruamel", "ssl")
TELL = """
import atexit, sys
atexit.register(lambda: print(*{name.split(".")[0] for name in sys.modules}, file=sys.stderr))
from postroad.cli.__main__ import main
main()
"""


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ((), []),
        (("--version",), []),
        (("--help",), []),
        (("queue", "--help"), ["pydantic"]),  # Typer reads the values of options with it
    ],
)
def test_what_lists_commands_imports_none_of_them(
    arguments: tuple[str, ...], needed: list[str]
) -> None:
    command = (sys.executable, "-I", "-c", TELL, *arguments)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(30))
    assert ended.stdout
    imported = ended.stderr.splitlines()[-1].split()
    assert "postroad" in imported
    assert [module for module in HEAVY if module in imported] == needed


@pytest.mark.parametrize(
    "module", ["typer", "postroad.cli.sink.command", "postroad.cli.sink.server"]
)
def test_ctrl_c_while_a_command_is_imported_ends_it_in_silence(tmp_path: Path, module: str) -> None:
    # Whoever imports the module meets the signal in the middle of it, however fast the machine is.
    interrupted = f"""
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
sys.argv = ["postroad", "sink"]
signal.signal(signal.SIGINT, signal.default_int_handler)
from postroad.cli.__main__ import main
main()
"""
    ended = subprocess.run(
        (sys.executable, "-I", "-c", interrupted),
        capture_output=True,
        text=True,
        timeout=patient(30),
        cwd=tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's /dev/full is a full disk")
@pytest.mark.parametrize("arguments", [("--version",), ("--help",)])
def test_a_full_disk_is_one_sentence(arguments: tuple[str, ...]) -> None:
    command = (sys.executable, "-Im", "postroad.cli", *arguments)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=patient(30)
        )
    assert ended.returncode == 1
    assert ended.stderr == "postroad: the output cannot be written: No space left on device\n"


def test_a_lack_of_file_descriptors_is_one_sentence() -> None:
    lacking = """
import resource
from postroad.cli import app

def command():
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))  # there are three already
    open("/dev/null")

app.app = command
from postroad.cli.__main__ import main
main()
"""
    command = (sys.executable, "-I", "-c", lacking)
    ended = subprocess.run(command, capture_output=True, text=True, timeout=patient(30))
    assert ended.returncode == 1
    assert ended.stderr == (
        "postroad: no file descriptors are left; raise the limit of open files"
        " (ulimit -Hn, LimitNOFILE; fs.file-max for the whole machine)\n"
    )


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ("CommandError('the queue cannot be read', code=4)", 4, "the queue cannot be read"),
        ("SystemExit(1)", 1, ""),
        ("SystemExit(0)", 0, ""),
    ],
)
def test_a_reader_that_has_gone_makes_no_success_of_a_failure(
    end: str, code: int, said: str
) -> None:
    """Some tables are written only as the command ends, and the failure to write them came last."""
    ends = f"""
from postroad.cli import app
from postroad.cli.errors import CommandError

def command():
    print("a table")
    raise {end}

app.app = command
from postroad.cli.__main__ import main
main()
"""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        ended = subprocess.run(
            (sys.executable, "-I", "-c", ends),
            stdout=gone,
            stderr=subprocess.PIPE,
            text=True,
            timeout=patient(30),
        )
    assert (ended.returncode, ended.stderr) == (code, f"postroad: {said}\n" if said else "")
