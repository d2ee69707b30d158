"""
Another commit of Postroad, set up beside this one: its files and its own virtual environment.

This commit's load drives it and this commit's bench measures it, so a change in either does not
look like a change in the relay. The set-up stays below build/ for the next run.
"""

import subprocess
from pathlib import Path


def set_up(commit: str, folder: Path) -> Path:
    """
    Set up `commit` in a folder below `folder`, unless it is there; return its Python.

    Raises subprocess.CalledProcessError when git does not know the commit or the set-up fails.
    """
    revision = _git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
    home = folder.resolve() / revision
    python = home / ".venv/bin/python"
    if (home / ".venv/.set-up").exists():
        return python
    print(f"Setting up {commit} in {home} ...", flush=True)
    home.mkdir(parents=True, exist_ok=True)
    _run("tar", "-x", "-C", str(home), given=_git("archive", "--format=tar", revision))
    _run("make", "--silent", "-C", str(home), "setup")
    return python


def _git(*words: str) -> bytes:
    return _run("git", *words, told=subprocess.PIPE)


def _run(*words: str, given: bytes | None = None, told: int | None = None) -> bytes:
    return subprocess.run(words, input=given, stdout=told, check=True).stdout
